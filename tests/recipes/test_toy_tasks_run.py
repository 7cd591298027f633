"""Run each toy task once from its script; bounds are looser than the targets over ten seeds."""

import subprocess
import sys

import pytest

from recipes.seed_results import read_seeds

pytestmark = pytest.mark.slow


def run_seed_0(world, root, folder):
    """The metrics of seed 0."""
    command = [sys.executable, f"recipes/toy_tasks/{world}.py", "--seeds", "0"]
    done = subprocess.run(
        [*command, "--output_dir", str(folder)], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return read_seeds(folder / "results.jsonl")[0]


def test_frontier_is_nearly_reached_but_not_passed(root, tmp_path):
    metrics = run_seed_0("frontier", root, tmp_path)
    assert 0.75 < metrics["kl_coef 0.3: efficiency"] <= 1.05
    kls = [metrics[f"kl_coef {coef}: KL"] for coef in (0.1, 0.3, 1.0)]
    assert kls == sorted(kls, reverse=True)
    assert metrics["what its chain leaves out, nats"] < 0.1
    exact = metrics["gold of the reference, exact"]
    assert metrics["gold of the reference, sampled"] == pytest.approx(exact, abs=0.1)


def test_worse_labels_gain_less(root, tmp_path):
    metrics = run_seed_0("dose", root, tmp_path)
    arms = ("0% flipped", "25% flipped", "50% flipped", "100% flipped")
    wins = [metrics[f"{arm}: win rate"] for arm in arms]
    assert wins == sorted(wins, reverse=True)
    assert metrics["200 labels: win rate"] < wins[0]
    assert wins[-1] < 0.25
    assert metrics["zero reward: KL"] < 0.05


def test_over_optimization_is_detected(root, tmp_path):
    metrics = run_seed_0("over_optimization", root, tmp_path)
    assert metrics["flagged"] == 1
    assert metrics["gold at the end"] < metrics["gold at its peak"] - 2
    assert metrics["proxy at the end"] > metrics["proxy at gold's peak"]
    assert metrics["taken: score"] > metrics["free: score"] + 2


def test_ppo_closes_brackets_that_sft_leaves_open(root, tmp_path):
    metrics = run_seed_0("parentheses", root, tmp_path)
    assert metrics["sft: balanced, seen"] < 0.6
    assert metrics["ppo: balanced, seen"] > 0.9
    assert metrics["ppo: balanced, deeper"] > metrics["sft: balanced, deeper"] + 0.2
    assert metrics["lookup: balanced, deeper"] < 0.25
    assert metrics["lookup among right demonstrations: balanced, seen"] > 0.9
    assert metrics["lookup among right demonstrations: balanced, deeper"] == 0


def test_ppo_learns_to_take_the_steps(root, tmp_path):
    metrics = run_seed_0("steps", root, tmp_path)
    assert metrics["glance: right"] < 0.25
    assert metrics["steps: right"] > 0.9
    assert metrics["both: takes the steps"] == pytest.approx(0.5, abs=0.1)
    assert metrics["ppo: takes the steps"] > 0.95
    assert metrics["ppo: right"] > metrics["both: right"] + 0.25


def test_ppo_learns_to_call_the_calculator(root, tmp_path):
    """Half of the dialogues call it; without a call hardly any sum is right."""
    metrics = run_seed_0("calculator", root, tmp_path)
    assert metrics["sft: calls"] == pytest.approx(0.5, abs=0.15)
    assert metrics["sft: right"] < 0.65
    assert metrics["ppo: calls"] > 0.95
    assert metrics["ppo: right"] > 0.85
