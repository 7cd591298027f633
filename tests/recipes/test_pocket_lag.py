"""The comparison of lags: its keys and its table, by value."""

import pytest

from recipes.pocket import lag
from recipes.pocket.gold import MAX_SCORE
from recipes.pocket.lag import as_table, config_of, run
from tests.conftest import ROOT


def test_only_the_lag_differs():
    """GRPO has no critic, whose keys in ppo.yaml would be rejected."""
    zero, one = (vars(config_of(lag)) for lag in (0, 1))
    assert {name for name in zero if zero[name] != one[name]} == {"rollout_lag"}
    assert (zero["advantage"], zero["kl_coef"], zero["rollout_batch_size"]) == ("grpo", 0.05, 128)


def test_table_has_paired_differences():
    """5 and 6 against 5.5 and 6.7: 0.6 ± 12.706 * 0.1."""
    seeds = [
        {"lag 0: gold after 20": 5.0, "lag 1: gold after 20": 5.5},
        {"lag 0: gold after 20": 6.0, "lag 1: gold after 20": 6.7},
    ]
    [row] = as_table(seeds).splitlines()[2:]
    assert row.startswith("| gold after 20 | 5.50 [")
    assert row.endswith(" | 0.60 [-0.67, 1.87] |")


def test_metric_without_its_pair_is_an_error():
    with pytest.raises(KeyError, match="lag 1: KL"):
        as_table([{"lag 0: KL": 1.0}])


@pytest.mark.parametrize(("words", "again"), [(["--results"], []), ([], [0, 1])])
def test_only_seeds_of_a_named_file_are_not_run_again(tmp_path, monkeypatch, capsys, words, again):
    """The second command runs both seeds, or with --results none; the table is the same."""
    ran = []

    def run_seed(folder, seed):
        ran.append(seed)
        assert folder == tmp_path / f"seed-{seed}"
        return {"lag 0: KL": 1.0, "lag 1: KL": 2.0}

    monkeypatch.setattr(lag, "run_seed", run_seed)
    named = [*words, str(tmp_path / "named.jsonl")] if words else []
    command = ["lag.py", "--seeds", "0", "1", "--output_dir", str(tmp_path), *named]
    monkeypatch.setattr("sys.argv", command)
    for _ in range(2):
        lag.main()
        assert "| 1.00 [1.00, 1.00] |" in capsys.readouterr().out
    assert ran == [0, 1, *again]


@pytest.mark.slow
def test_both_lags_are_trained_and_measured(tmp_path, monkeypatch):
    """Two iterations from the pretrained model."""
    monkeypatch.setattr(lag, "EVALUATED", (1, 2))
    small = {"max_steps": 2, "eval_steps": 1, "num_eval_prompts": 8, "rollout_batch_size": 16}
    monkeypatch.setattr(lag, "KEYS", lag.KEYS | small)
    metrics = run(tmp_path, ROOT / "data/pocket/model", 0)
    assert len(metrics) == 2 * 4
    for number in lag.LAGS:
        assert 0 < metrics[f"lag {number}: gold after 2"] <= MAX_SCORE
        assert metrics[f"lag {number}: seconds"] > 0
