"""Each world once, as one launches it, against looser bounds than the aims over ten seeds."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


def figures_of(world, root, folder):
    """The figures of seed 0."""
    command = [sys.executable, f"recipes/toy_tasks/{world}.py", "--seeds", "0"]
    done = subprocess.run(
        [*command, "--output_dir", str(folder)], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "figures.json").read_text())["0"]


def test_frontier_is_nearly_reached_and_never_passed(root, tmp_path):
    found = figures_of("frontier", root, tmp_path)
    assert 0.75 < found["kl_coef 0.3: efficiency"] <= 1.05
    kls = [found[f"kl_coef {coef}: KL"] for coef in (0.1, 0.3, 1.0)]
    assert kls == sorted(kls, reverse=True)
    assert found["what its chain leaves out, nats"] < 0.1
    exact = found["gold of the reference, exact"]
    assert found["gold of the reference, sampled"] == pytest.approx(exact, abs=0.1)


def test_worse_labels_gain_less(root, tmp_path):
    found = figures_of("dose", root, tmp_path)
    arms = ("0% flipped", "25% flipped", "50% flipped", "100% flipped")
    wins = [found[f"{arm}: win rate"] for arm in arms]
    assert wins == sorted(wins, reverse=True)
    assert found["200 labels: win rate"] < wins[0]
    assert wins[-1] < 0.25
    assert found["zero reward: KL"] < 0.05


def test_over_optimisation_is_seen(root, tmp_path):
    found = figures_of("over_optimization", root, tmp_path)
    assert found["flagged"] == 1
    assert found["gold at the end"] < found["gold at its peak"] - 2
    assert found["proxy at the end"] > found["proxy at gold's peak"]
    assert found["taken: score"] > found["free: score"] + 2


def test_brackets_close(root, tmp_path):
    found = figures_of("parentheses", root, tmp_path)
    assert found["sft: balanced, seen"] < 0.6
    assert found["ppo: balanced, seen"] > 0.9
    assert found["ppo: balanced, deeper"] > found["sft: balanced, deeper"] + 0.2
    assert found["lookup: balanced, deeper"] < 0.25
    assert found["lookup among right demonstrations: balanced, seen"] > 0.9
    assert found["lookup among right demonstrations: balanced, deeper"] == 0


def test_steps_are_taken(root, tmp_path):
    found = figures_of("steps", root, tmp_path)
    assert found["glance: right"] < 0.25
    assert found["steps: right"] > 0.9
    assert found["both: takes the steps"] == pytest.approx(0.5, abs=0.1)
    assert found["ppo: takes the steps"] > 0.95
    assert found["ppo: right"] > found["both: right"] + 0.25
