"""The comparison of methods over seeds of the pocket pipeline: metrics and table, by value."""

import json

import pytest

from recipes.pocket.compare_seeds import as_table, metrics_of
from recipes.seed_results import add_seed, read_numbers


def content(win_rate):
    """A compare.json of one seed: PPO at one strength, and best of 4."""

    def point(method, key, value, runs):
        estimates = {"win_rate": win_rate, "kl": 2.0, "reward": 0.5, "score": 6.0}
        point = {name: {"value": number} for name, number in estimates.items()}
        return {"method": method, "key": key, "value": value, "runs": runs, **point}

    cost = {"seed": 0, "responses": 7680, "tokens": 90000, "seconds": 60.0}
    points = [
        point("ppo", "kl_coef", 0.3, [cost]),
        point("best_of_n", "num_responses", 4, []),
    ]
    return json.dumps({"points": points})


def test_metrics_have_estimates_and_cost():
    metrics = metrics_of(content(0.8))
    assert metrics["ppo kl_coef 0.3: win rate"] == 0.8
    assert metrics["ppo kl_coef 0.3: gold"] == 6.0
    assert metrics["ppo kl_coef 0.3: responses"] == 7680
    assert "best_of_n num_responses 4: responses" not in metrics
    assert len(metrics) == 4 + 3 + 4


def test_table_has_means_over_seeds(tmp_path):
    """0.8 and 0.9: 0.85 ± 12.706 * 0.05."""
    path = tmp_path / "results.jsonl"
    for seed, win_rate in enumerate((0.8, 0.9)):
        add_seed(path, seed, metrics_of(content(win_rate)), threads=None)
    rows = as_table(list(read_numbers(path).values())).splitlines()[2:]
    assert rows == [
        "| ppo kl_coef 0.3 | 0.850 [0.215, 1.485] | 2.00 [2.00, 2.00] | "
        "6.00 [6.00, 6.00] | 7,680 |",
        "| best_of_n num_responses 4 | 0.850 [0.215, 1.485] | 2.00 [2.00, 2.00] | "
        "6.00 [6.00, 6.00] |  |",
    ]


def test_a_point_without_an_estimate_is_an_error():
    broken = json.loads(content(0.8))
    del broken["points"][0]["kl"]
    with pytest.raises(KeyError, match="kl"):
        metrics_of(json.dumps(broken))
