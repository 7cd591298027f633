"""Weights of rankings from a column: read, normalized to mean 1, in the loss; mistakes raise."""

import json
from dataclasses import replace

import pytest

from rlhf.data.held_out import TrainAndHeldOut
from rlhf.data.rows.load import load_rankings
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.training.reward.config import RewardModelConfig
from rlhf.training.reward.data import TokenRanking, tokenize, with_mean_weight
from rlhf.training.reward.trainer import RewardTrainer
from rlhf.training.reward.validation import check_rankings
from tests.errors import raises
from tests.tiny_models import make_model
from tests.training.tiny_runs import rankings

ROW = {"prompt": "Where?", "responses": ["a", "b"], "ranks": [1, 2]}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model") / "llama")


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_weight_is_read_from_the_named_column(tmp_path):
    """Held-out rankings need no such column, and without the key it has no meaning."""
    path = write(tmp_path / "rows.jsonl", [{**ROW, "w": 0.25}, {**ROW, "w": 2}])
    loaded = load_rankings(path, weight_column="w")
    assert [row.weight for row in loaded.rows] == [0.25, 2.0]
    assert [row.weight for row in load_rankings(path).rows] == [1.0, 1.0]
    plain = write(tmp_path / "held_out.jsonl", [ROW])
    assert load_rankings(plain, role="eval", weight_column="w").rows[0].weight == 1.0
    with raises("bad-row", "held_out.jsonl:1", "w"):
        load_rankings(plain, weight_column="w")


@pytest.mark.parametrize("value", [0, -1, "1", True, None, float("inf")])
def test_weight_that_is_not_above_zero_raises(tmp_path, value):
    path = write(tmp_path / "rows.jsonl", [{**ROW, "w": value}])
    with raises("bad-row", "rows.jsonl:1", "w"):
        load_rankings(path, weight_column="w")


def test_weights_have_mean_one():
    """1/4, 1/4 and 1 have the mean 1/2: 1/2, 1/2 and 2. Equal weights of 1 are not touched."""
    row = TokenRanking(prompt="p", group="p", ids=[(1,), (2,)], ranks=[1, 2])
    rows = [replace(row, weights=(weight,)) for weight in (0.25, 0.25, 1.0)]
    assert [each.weights for each in with_mean_weight(rows)] == [(0.5,), (0.5,), (2.0,)]
    assert with_mean_weight([row, row]) == [row, row]


def test_equal_weights_raise(tmp_path):
    rows = load_rankings(write(tmp_path / "rows.jsonl", [ROW])).rows
    with raises("key-conflict", "weight_column=w"):
        check_rankings(
            RewardModelConfig(weight_column="w"),
            TrainAndHeldOut(train=rows, held_out=[], uses=[]),
        )


def test_rankings_of_a_small_weight_hardly_count(model, tmp_path):
    """Each ranking and its reversal, of weights 1 and 0.001: the model follows the first."""
    rows = rankings(100)
    reversed_rows = [
        replace(row, weight=0.001, ranks=[1 + max(row.ranks) - rank for rank in row.ranks])
        for row in rows
    ]
    trainer = RewardTrainer(
        str(model),
        [as_row(row) for row in [*rows, *reversed_rows]],
        [as_row(row) for row in rankings(40, seed=1)],
        config=RewardModelConfig(
            weight_column="weight",
            max_steps=25,
            learning_rate=3e-3,
            per_device_train_batch_size=8,
        ),
        output_dir=tmp_path / "run",
    )
    assert trainer.train().health.accuracy > 0.8


def as_row(row):
    return {
        "prompt": row.prompt,
        "responses": list(row.responses),
        "ranks": list(row.ranks),
        "weight": row.weight,
    }


def test_tokens_keep_the_weight(model):
    [row] = tokenize(load_tokenizer(str(model)), [replace(rankings(1)[0], weight=0.5)])
    assert row.weights == (0.5,)
