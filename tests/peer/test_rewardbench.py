"""The rules of RewardBench 1 and 2 against the released scorer, on random scores with ties.

RLHF_REWARDBENCH_PYTHON is the Python of an environment that has the package rewardbench.
"""

import json
import os
import subprocess

import numpy as np
import pytest

from rlhf.evaluation.benchmarks import rules, shapes
from rlhf.evaluation.benchmarks.case import judged_by_scores

pytestmark = pytest.mark.peer
RELEASED = """
import importlib.util, json, sys, types
# Its __init__ imports every model of the leaderboard, which need old versions of many packages.
package, models = types.ModuleType("rewardbench"), types.ModuleType("rewardbench.models")
package.__path__ = importlib.util.find_spec("rewardbench").submodule_search_locations
models.REWARD_MODEL_CONFIG = {}
sys.modules |= {"rewardbench": package, "rewardbench.models": models}
from datasets import Dataset
from rewardbench.constants import EXAMPLE_COUNTS, SUBSET_MAPPING
from rewardbench.utils import (
    calculate_scores_per_section, process_single_model, reroll_and_score_dataset,
)
given = json.load(sys.stdin)
rows = [{"text": "", "scores": score, "id": one["id"]}
        for one in given["four"] for score in one["scores"]]
rolled = reroll_and_score_dataset(Dataset.from_list(rows), [4] * len(given["four"]))
print(json.dumps({
    "four": sum(rolled["results"]) / len(rolled),
    "ties": process_single_model(Dataset.from_list(given["ties"]))[1],
    "sections": calculate_scores_per_section(EXAMPLE_COUNTS, SUBSET_MAPPING, given["pairs"]),
}))
"""


@pytest.fixture(scope="module")
def released():
    """Scores on a grid, so that many are equal, and what the released functions make of them."""
    python = os.environ.get("RLHF_REWARDBENCH_PYTHON")
    if python is None:
        pytest.skip("needs the package rewardbench in an environment: RLHF_REWARDBENCH_PYTHON")
    rng = np.random.default_rng(0)
    four = [
        {"id": str(n), "scores": rng.integers(0, 5, 4).astype(float).tolist()} for n in range(200)
    ]
    ties = []
    for n in range(60):
        for kind, right in (("ref", 1), ("tied", int(rng.integers(2, 5)))):
            scores = rng.integers(0, 4, right + 5).astype(float)
            # Right answers differ: releases disagree on a spread of 0, by 0.01 of the score.
            scores[:right] += rng.integers(0, 4) + np.arange(right) / 8
            ties.append({"id": f"{kind}:{n}", "scores": scores.tolist(), "num_correct": right})
    subsets = [name for counts in rules.SECTIONS.values() for name in counts]
    pairs = {name: (rng.random(30) < rng.random()).astype(float).tolist() for name in subsets}
    given = {
        "four": four,
        "ties": ties,
        "pairs": {name: float(np.mean(values)) for name, values in pairs.items()},
    }
    done = subprocess.run(
        [python, "-c", RELEASED], input=json.dumps(given), text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return four, ties, pairs, json.loads(done.stdout.splitlines()[-1])


def case(identifier, right, scores, subset):
    row = {
        "id": identifier,
        "prompt": identifier,
        "chosen": [f"right {n}" for n in range(right)],
        "rejected": [f"wrong {n}" for n in range(len(scores) - right)],
        "subset": subset,
    }
    return judged_by_scores(shapes.rewardbench2_row(row, "file"), scores)


def table(rule, judged):
    return {(row.metric, row.subset): row.estimate.value for row in rule(judged, 0)}


def test_rewardbench2_equals_the_released_scorer(released):
    four, ties, _, expected = released
    judged = [case(one["id"], 1, one["scores"], "Math") for one in four]
    judged += [case(one["id"], one["num_correct"], one["scores"], "Ties") for one in ties]
    own = table(rules.rewardbench2, judged)
    assert 0.1 < expected["ties"] < 0.9
    assert own["accuracy", "Math"] == pytest.approx(expected["four"], abs=1e-9)
    assert own["score", "Ties"] == pytest.approx(expected["ties"], abs=1e-9)
    assert own["score", None] == pytest.approx((expected["four"] + expected["ties"]) / 2)


def test_rewardbench_equals_the_released_sections(released):
    _, _, pairs, expected = released
    judged = []
    for subset, values in pairs.items():
        for number, right in enumerate(values):
            row = {"prompt": f"{number}", "chosen": "a", "rejected": "b", "subset": subset}
            judged.append(judged_by_scores(shapes.rewardbench_row(row, "file"), [right, 0.0]))
    own = table(rules.rewardbench, judged)
    for section, value in expected["sections"].items():
        assert own["accuracy", section] == pytest.approx(value, abs=1e-9)
    assert own["score", None] == pytest.approx(np.mean(list(expected["sections"].values())))
