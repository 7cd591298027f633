"""The tables over seeds, with literal numbers."""

import json

import pytest

from recipes.pocket import seeds
from recipes.pocket.seeds import as_table, by_category, gold_accuracy, reward_accuracy
from rlhf.evaluation.core.results import Result

PROMPT = "Tom has a red key. Who has the key?"


def test_noise_ceiling_is_how_often_gold_agrees(tmp_path):
    """Gold 8, 7 and 4 points. Ranks 1, 2, 2: both pairs agree with gold, the tie does not count.

    Ranks 2, 1, 3: one of three pairs is reversed. Two equal responses with different ranks: a half.
    """
    responses = ["Sure! Tom has the key.", "Tom has the key.", "Sure! Mia has the key."]
    rows = [
        {"prompt": PROMPT, "responses": responses, "ranks": [1, 2, 2]},
        {"prompt": PROMPT, "responses": responses, "ranks": [2, 1, 3]},
        {"prompt": PROMPT, "responses": [responses[1]] * 2, "ranks": [1, 2]},
    ]
    file = tmp_path / "rankings.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert gold_accuracy(file) == pytest.approx((2 + 2 + 0.5) / 6)


def test_reward_accuracy_is_the_last_one_logged(tmp_path):
    rows = [{"step": 1, "eval_accuracy": 0.5}, {"step": 2, "eval_accuracy": 0.75}, {"step": 2}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert reward_accuracy(tmp_path) == 0.75


def test_table_has_a_column_per_seed_and_the_mean():
    columns = {0: {"won": (0.5,), "right": (0.2, 0.4)}, 3: {"won": (0.7,), "right": (0.4, 0.8)}}
    assert as_table(columns).splitlines() == [
        "| metric | seed 0 | seed 3 | mean |",
        "|---|---:|---:|---:|",
        "| won | 0.50 | 0.70 | 0.60 |",
        "| right | 0.20 → 0.40 | 0.40 → 0.80 | 0.30 → 0.60 |",
    ]


def make_result(**fields):
    return Result(low=0.0, high=1.0, n=44, **fields)


def test_categories_are_averaged_over_runs(monkeypatch):
    """Right: 0.2 and 0.4 before, 0.6 and 1.0 after; win rates 0.5 and 0.75."""
    monkeypatch.setattr(seeds, "HELD_OUT_COUNTS", {"fact": 44})
    monkeypatch.setattr(seeds, "AXES", {"correct": "right"})

    def run(before, after, win_rate):
        axis = {"metric": "axis", "axis": "correct", "judge": "gold", "subset": "fact"}
        return [
            make_result(model="sft", value=before, **axis),
            make_result(model="ppo", value=after, **axis),
            make_result(model="ppo", value=win_rate, metric="win_rate", baseline="sft", **where),
            make_result(model="ppo", value=0.99, metric="win_rate", baseline="lookup", **where),
        ]

    where = {"judge": "gold", "subset": "fact"}
    table = by_category([run(0.2, 0.6, 0.5), run(0.4, 1.0, 0.75)])
    assert table.splitlines()[-1] == "| fact | 0.30 → 0.80 | 0.62 |"
