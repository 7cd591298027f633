"""The gate's verdicts, and what its figures are made of."""

import json
import sys

import pytest
from tiny_models import make_model

from rlhf.data.tokenizer import load_tokenizer
from rlhf.errors import CheckpointError, DataError
from rlhf.evaluation import gate
from rlhf.evaluation.bootstrap import Estimate
from rlhf.evaluation.gate import judge_reward_model, pair_accuracy
from rlhf.models.load import new_reward_model
from rlhf.models.save import save_reward_model
from rlhf.types import Ranking


def _estimate(value, spread=0.05, n=100):
    return Estimate(value=value, low=value - spread, high=value + spread, n=n)


@pytest.mark.parametrize(
    ("accuracy", "shuffled_words", "verdict", "reason"),
    [
        (_estimate(0.75), _estimate(0.95), "pass", None),
        (_estimate(0.54), _estimate(0.95), "fail", "a coin"),
        (_estimate(0.2), _estimate(0.95), "fail", "a coin"),
        (_estimate(0.58), _estimate(0.95), "warn", "a weak guide"),
        (_estimate(0.75, n=12), _estimate(0.95), "warn", "fewer than 30"),
        (_estimate(1.0, spread=0.0, n=2), _estimate(0.95), "fail", "told from coins"),
        (_estimate(0.75), _estimate(0.52), "warn", "hardly sees"),
        (_estimate(0.75), _estimate(0.2), "fail", "word salad"),
        (_estimate(0.5), _estimate(0.5), "fail", "a coin"),
    ],
)
def test_verdicts(accuracy, shuffled_words, verdict, reason):
    gate = judge_reward_model(accuracy, shuffled_words)
    assert gate.verdict == verdict
    assert (not gate.reasons) == (verdict == "pass")
    if reason is not None:
        assert reason in " ".join(gate.reasons)


def test_accuracy_leaves_ties_out_and_clusters_by_prompt():
    """Ranks 1, 2, 2 make two pairs; scores 3, 1, 4 order one of them; one prompt twice is one."""
    rankings = [
        Ranking(prompt="p", responses=["a", "b", "c"], ranks=[1, 2, 2]),
        Ranking(prompt="P!", responses=["a", "b"], ranks=[2, 1]),
        Ranking(prompt="q", responses=["a", "b"], ranks=[1, 2]),
    ]
    estimate = pair_accuracy(rankings, [[3.0, 1.0, 4.0], [0.0, 1.0], [2.0, 2.0]])
    assert estimate.value == pytest.approx((1 + 1 + 0.5) / 4)
    assert estimate.n == 2


def test_pairs_without_a_prompt_are_prompts_of_their_own():
    """20 sentences over 20 others, all answers to nothing: 20 coins, not one."""
    rankings = [Ranking(prompt="", responses=[f"a{i}", f"b{i}"], ranks=[1, 2]) for i in range(20)]
    estimate = pair_accuracy(rankings, [[1.0, 0.0]] * 20)
    assert (estimate.n, estimate.value) == (20, 1.0)
    # Wilson's interval of 20 heads in 20 flips: 1 / (1 + 1.96² / 20).
    assert estimate.low == pytest.approx(0.8389, abs=1e-4)


def test_bad_rows_are_refused_together_or_left_out(tmp_path, monkeypatch):
    """Of 3 rankings one has no prompt, one has more tokens than the model's 256 positions."""
    base = make_model(tmp_path / "base", "gpt2")
    save_reward_model(
        tmp_path / "reward", new_reward_model(base, seed=0), load_tokenizer(str(base)), 0.0, 1.0
    )
    pair = {"prompt": "Where?", "chosen": "In the box.", "rejected": "A cat."}
    rankings = [pair, {**pair, "chosen": "red ball " * 300}, {"chosen": "x", "rejected": "y"}]
    said = [{"prompt": "Where?", "completion": "In the red box."}, {"prompt": "x"}]
    for name, rows in (("rankings", rankings), ("demonstrations", said)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [f"--{key}={tmp_path / key}.jsonl" for key in ("rankings", "demonstrations")]
    words += [f"--reward_model={tmp_path / 'reward'}", f"--output={tmp_path / 'gate.json'}"]
    monkeypatch.setattr(sys, "argv", ["gate", *words, "--cpu_threads=1"])
    with pytest.raises(DataError, match="3 rows cannot be used"):
        gate.main()
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--drop_bad_rows"])
    gate.main()
    verdict = json.loads((tmp_path / "gate.json").read_text())
    assert (verdict["accuracy"]["n"], verdict["above_shuffled"]["n"]) == (1, 1)


def test_an_unfinished_reward_model_is_refused(tmp_path, monkeypatch):
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    keys = ("reward_model", "rankings", "demonstrations", "output")
    words = [f"--{key}={tmp_path}" for key in keys]
    monkeypatch.setattr(sys, "argv", ["gate", *words, "--cpu_threads=1"])
    with pytest.raises(CheckpointError, match="did not finish"):
        gate.main()
