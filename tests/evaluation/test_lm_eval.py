"""What is kept of lm-evaluation-harness: its own form of results, from its documentation."""

import sys
from types import SimpleNamespace

import pytest

from rlhf.errors import TrainingError
from rlhf.evaluation.benchmarks import benchmark_figures
from rlhf.evaluation.results import find

SAID = {
    "results": {
        "arc_easy": {
            "alias": "arc_easy",
            "acc,none": 0.5,
            "acc_stderr,none": 0.1,
            "acc_norm,none": 0.4,
            "acc_norm_stderr,none": "N/A",
        }
    },
    "versions": {"arc_easy": 1.0},
    "n-shot": {"arc_easy": 0},
    "n-samples": {"arc_easy": {"original": 2376, "effective": 25}},
}
HOW = {"limit": 25, "batch_size": 8, "chat": True, "seed": 0}


def _harness(monkeypatch, evaluate):
    harness = SimpleNamespace(simple_evaluate=evaluate, __version__="0.4.9")
    monkeypatch.setitem(sys.modules, "lm_eval", harness)


def test_figures_with_their_standard_errors_and_what_was_run(monkeypatch):
    asked = {}
    _harness(monkeypatch, lambda **keys: asked.update(keys) or SAID)
    found, run = benchmark_figures("ppo", "runs/ppo", ["arc_easy"], **HOW)
    accuracy = find(found, "lm_eval", "ppo", axis="arc_easy acc")
    assert (accuracy.value, accuracy.se, accuracy.n) == (0.5, 0.1, 25)
    assert accuracy.low == pytest.approx(0.5 - 0.196)
    norm = find(found, "lm_eval", "ppo", axis="arc_easy acc_norm")
    assert (norm.low, norm.high) == (0.4, 0.4)
    assert asked["apply_chat_template"] is True
    assert asked["model_args"] == {"pretrained": "runs/ppo"}
    assert (run["harness"], run["chat_template"], run["versions"]) == (
        "0.4.9", True, {"arc_easy": 1.0}
    )  # fmt: skip


def test_a_task_that_it_does_not_know_is_said_in_words(monkeypatch):
    def evaluate(**keys):
        raise KeyError("no such task")

    _harness(monkeypatch, evaluate)
    with pytest.raises(TrainingError, match="lm_eval nothing on runs/ppo"):
        benchmark_figures("ppo", "runs/ppo", ["nothing"], **HOW)
