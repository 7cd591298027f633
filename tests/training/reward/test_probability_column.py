"""Soft labels: the share of people who prefer a response, in the loss and in held-out metrics."""

import json

import pytest
import torch

from rlhf.data.held_out import TrainAndHeldOut
from rlhf.data.rows.load import load_rankings
from rlhf.training.reward.config import RewardModelConfig
from rlhf.training.reward.data import TokenRanking, flatten
from rlhf.training.reward.loss import losses_of
from rlhf.training.reward.trainer import RewardTrainer
from rlhf.training.reward.validation import check_rankings, without_undecided
from tests.errors import raises
from tests.tiny_models import make_model
from tests.training.tiny_runs import rankings

PAIR = {"prompt": "Where?", "chosen": "a", "rejected": "b"}
SOFT = RewardModelConfig(probability_column="p")


def token_ranking(ranks, probabilities=()):
    ids = [(number + 1,) for number in range(len(ranks))]
    return TokenRanking(prompt="p", group="p", ids=ids, ranks=ranks, probabilities=probabilities)


def test_loss_of_a_batch_with_and_without_probabilities():
    """d = 1: 0.613262 at 70%, and 0.313262 for a row that is ordered by its ranks."""
    flat = flatten([token_ranking([1, 2], [(0, 1, 0.7)]), token_ranking([1, 2])])
    losses = losses_of(torch.tensor([1.0, 0.0, 1.0, 0.0]), flat, SOFT, 0.0)
    assert losses.tolist() == pytest.approx([0.613262, 0.313262], abs=1e-6)
    assert flatten([token_ranking([1, 2])]).preferred is None


def test_tie_of_people_is_a_pair_of_equal_responses():
    flat = flatten([token_ranking([1, 1], [(0, 1, 0.5)]), token_ranking([1, 1])])
    losses = losses_of(torch.tensor([1.0, 0.0, 1.0, 0.0]), flat, SOFT, 0.0)
    assert losses.tolist() == pytest.approx([0.813262, 0.0], abs=1e-6)


def test_rankings_that_tie_are_kept_with_probabilities(tmp_path):
    path = tmp_path / "rows.jsonl"
    tied = {"prompt": "Where?", "responses": ["a", "b"], "ranks": [1, 1]}
    lines = [{**tied, "p": [[0, 1, 0.5]]}, tied, {**PAIR, "p": 0.6}]
    path.write_text("".join(json.dumps(row) + "\n" for row in lines))
    loaded = load_rankings(str(path), keep_tied=True, probability_column="p")
    rows = TrainAndHeldOut(
        train=loaded.rows, held_out=[], uses=[loaded.use], origins=[0] * len(loaded.rows)
    )
    kept = without_undecided(rows)
    assert [row.probabilities for row in kept.train] == [[(0, 1, 0.5)], [(0, 1, 0.6)]]
    assert (kept.uses[0].rows, kept.uses[0].dropped) == (2, 1)
    check_rankings(SOFT, kept)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("loss_type", "plackett_luce"),
        ("ties", "half"),
        ("margin_coef", 0.5),
        ("label_smoothing", 0.1),
        ("annotator_weights", "agreement"),
    ],
)
def test_key_for_one_winner_is_rejected(key, value):
    with raises("key-conflict", f"{key}={value}", "probability_column=p"):
        RewardModelConfig(probability_column="p", **{key: value})


def test_column_that_no_row_has_is_rejected(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(PAIR) + "\n")
    rows = load_rankings(str(path), probability_column="p").rows
    with raises("key-conflict", "probability_column=p"):
        check_rankings(SOFT, TrainAndHeldOut(train=rows, held_out=[], uses=[]))


def test_model_learns_how_people_split(tmp_path):
    """All pairs have the same probability of the better response, 0.7: σ(d) comes near it.

    Trained on the winner alone, the mean of σ(d) is far above.
    """
    model = make_model(tmp_path / "model")
    soft = _mean_probability(model, tmp_path / "soft", 0.7)
    hard = _mean_probability(model, tmp_path / "hard", 1.0)
    assert soft == pytest.approx(0.7, abs=0.06)
    assert hard > 0.85


def _mean_probability(model, folder, probability):
    """Mean of σ(d) on held-out pairs after a short training; their accuracy is measured."""
    trainer = RewardTrainer(
        str(model),
        [_row(row, probability) for row in rankings(150, responses=2)],
        [_row(row, probability) for row in rankings(40, seed=1, responses=2)],
        config=RewardModelConfig(
            probability_column="p",
            max_steps=60,
            learning_rate=3e-3,
            per_device_train_batch_size=8,
        ),
        output_dir=folder,
    )
    health = trainer.train().health
    # Of 100 people who look at a pair that is ordered well, 100 * probability agree.
    assert health.accuracy == pytest.approx(probability, abs=0.1)
    assert health.pairs == 40
    rows = rankings(40, seed=1, responses=2)
    scores = [trainer.score([row.prompt] * 2, _ordered(row)) for row in rows]
    return torch.sigmoid(torch.tensor([first - second for first, second in scores])).mean().item()


def _ordered(row):
    return [text for _, text in sorted(zip(row.ranks, row.responses, strict=True))]


def _row(row, probability):
    better, worse = _ordered(row)
    return {"prompt": row.prompt, "chosen": better, "rejected": worse, "p": probability}
