"""Training on verdicts and ratings: exact resume, invariances, masks, learning."""

import math
from dataclasses import replace

import pytest
import torch

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.ops.rating import outcome_loss, rating_loss
from rlhf.training.rating.data import axis_scales, labels_of, outcome_axis, tokenize
from rlhf.training.rating.loss import batch_loss
from rlhf.types import RatedResponse
from tests.errors import raises
from tests.training.rating.tiny_ratings import (
    AXES,
    OUTCOME,
    objective_of,
    rating_setup,
    ratings,
    train_rating,
    verdicts,
)
from tests.training.tiny_runs import assert_same_weights

KINDS = [pytest.param(verdicts, OUTCOME, id="outcome"), pytest.param(ratings, AXES, id="axes")]


@pytest.mark.parametrize(("make", "keys"), KINDS)
def test_resumed_equals_uninterrupted(llama, tmp_path, make, keys):
    keys = {**keys, "max_steps": 8, "save_steps": 4, "save_total_limit": 5, "logging_steps": 3}
    whole, lines = train_rating(llama, tmp_path / "run", make(12), **keys)
    checkpoint = tmp_path / "run" / "checkpoint-4"
    again, later = train_rating(llama, tmp_path / "again", make(12), resume=checkpoint, **keys)
    assert_same_weights(whole, again, rtol=0, atol=0)
    assert [x["loss"] for x in later] == [x["loss"] for x in lines if x["step"] > 4]


def test_checkpoint_of_another_objective_or_other_axes_is_rejected(llama, tmp_path):
    train_rating(llama, tmp_path / "run", ratings(12), max_steps=2, **AXES)
    resume = tmp_path / "run" / "checkpoint-2"
    other = {**AXES, "axis_weights": '{"dogs": 1, "cats": 1}'}
    with raises("other-run", "axes"):
        train_rating(llama, tmp_path / "a", ratings(12), resume=resume, max_steps=2, **other)
    with raises("other-run", "seed"):
        train_rating(llama, tmp_path / "b", ratings(12), resume=resume, max_steps=2, seed=1, **AXES)


def test_other_weights_of_the_same_axes_may_resume(llama, tmp_path):
    """The weights are no part of the loss: the heads are trained alike."""
    keys = {"max_steps": 2, "save_steps": 1}
    whole, _ = train_rating(llama, tmp_path / "run", ratings(12), **keys, **AXES)
    other = {**AXES, "axis_weights": '{"cats": 9, "dogs": 1}'}
    checkpoint = tmp_path / "run" / "checkpoint-1"
    again, _ = train_rating(
        llama, tmp_path / "again", ratings(12), resume=checkpoint, **keys, **other
    )
    assert_same_weights(whole, again, rtol=0, atol=0)


@pytest.mark.parametrize(("make", "keys"), KINDS)
def test_accumulation_does_not_change_weights(llama, tmp_path, make, keys):
    keys = {**keys, "max_steps": 4, "learning_rate": 5e-3}
    one, _ = train_rating(llama, tmp_path / "a", make(8), **keys)
    four, _ = train_rating(
        llama, tmp_path / "b", make(8),
        per_device_train_batch_size=1, gradient_accumulation_steps=4, **keys,
    )  # fmt: skip
    assert_same_weights(one, four, rtol=1e-3, atol=1e-5)


def gradients(objective, batch):
    objective.model.zero_grad()
    objective.module.train()
    loss = objective.loss(objective.module, batch).loss
    loss.backward()
    parts = [p.grad.clone() for p in objective.model.parameters() if p.grad is not None]
    return float(loss.detach()), torch.cat([part.flatten() for part in parts])


@pytest.mark.parametrize(("make", "keys"), KINDS)
def test_padding_and_companions_change_neither_loss_nor_gradient(llama, tmp_path, make, keys):
    """A prompt alone, and next to a much longer one whose ratings are all missing."""
    objective = objective_of(rating_setup(llama, tmp_path / "run", make(6), **keys))
    alone = gradients(objective, objective.rows[:1])
    first = objective.rows[1][0]
    blank = tuple(math.nan for _ in first.labels)
    longer = replace(first, ids=first.ids * 4, labels=blank)
    together = gradients(objective, [objective.rows[0], [longer]])
    assert together[0] == pytest.approx(alone[0], rel=1e-5)
    torch.testing.assert_close(together[1], alone[1], rtol=1e-4, atol=1e-6)


def test_responses_of_several_annotators_are_read_once(llama, tmp_path):
    """Two verdicts of one text: the mean of both losses, from one row of the forward pass."""
    rows = verdicts(2)
    twice = [rows[0], replace(rows[0], ratings={"correct": 1 - rows[0].ratings["correct"]})]
    setup = rating_setup(llama, tmp_path / "run", twice, **OUTCOME)
    objective, sizes = objective_of(setup), []
    objective.module.register_forward_hook(lambda module, args, out: sizes.append(len(out)))
    loss = batch_loss(objective.module, objective.train, setup.chat.pad_token_id, "outcome")
    score = objective.scores.read([objective.train[0].ids], title="")[0, 0]
    both = outcome_loss(score.expand(2), torch.tensor([1.0, 0.0])).sum()
    assert sizes[0] == 1
    torch.testing.assert_close(loss, both, rtol=1e-4, atol=1e-5)


def test_loss_is_the_sum_over_ratings_of_the_formula(llama, tmp_path):
    setup = rating_setup(llama, tmp_path / "run", ratings(4), **AXES)
    objective = objective_of(setup)
    scores = objective.scores.read([row.ids for row in objective.train], title="")
    expected = rating_loss(scores, labels_of(objective.train)).sum()
    loss = batch_loss(objective.module, objective.train, setup.chat.pad_token_id, "axes")
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)


def test_mean_weight_is_the_ratings_of_a_prompt(llama, tmp_path):
    """Two ratings, one and none missing: the expected loss divides by ratings, not by responses."""
    rows = [
        RatedResponse(prompt="A", completion="cat", ratings={"cats": 1.0, "dogs": 0.0}),
        RatedResponse(prompt="A", completion="dog", ratings={"cats": 0.0}),
        RatedResponse(prompt="B", completion="dog", ratings={"dogs": 1.0}),
    ]
    objective = objective_of(rating_setup(llama, tmp_path / "run", rows, **AXES))
    assert objective.mean_weight == 2.0


def test_scale_of_an_axis():
    """Ratings 1, 2 and 6: mean 3, variance (4 + 1 + 9) / 3; labels in its units, NaN if missing."""
    rows = [
        RatedResponse(prompt=str(value), completion="a", ratings={"a": value})
        for value in (1.0, 2.0, 6.0)
    ]
    rows.append(RatedResponse(prompt="x", completion="a", ratings={"b": 1.0}))
    [axis] = axis_scales(rows, {"a": 2.0})
    assert (axis.mean, axis.std, axis.weight) == (3.0, pytest.approx(math.sqrt(14 / 3)), 2.0)
    with raises("no-rows", "b"):
        axis_scales(rows, {"b": 1.0})
    with raises("no-rows", "c"):
        axis_scales(rows, {"c": 1.0})
    with raises("no-rows", "correct"):
        outcome_axis([row for row in verdicts(9) if row.ratings["correct"]])


def test_labels_are_in_standard_deviations(llama):
    rows = [
        RatedResponse(prompt="a", completion="a", ratings={"a": 0.0}),
        RatedResponse(prompt="b", completion="a", ratings={"a": 4.0}),
    ]
    chat = load_tokenizer(str(llama), judges=True)
    tokens = tokenize(chat, rows, axis_scales(rows, {"a": 1.0}))
    assert [row.labels for row in tokens] == [(-1.0,), (1.0,)]


def test_first_held_out_metrics_of_a_constant(llama, tmp_path):
    """Untrained heads of size 0: log 2 per verdict, AUC ½, Brier ¼."""
    setup = rating_setup(
        llama, tmp_path / "run", verdicts(6), held_out=verdicts(6, seed=1), **OUTCOME
    )
    objective = objective_of(setup)
    objective.model.score.weight.data.zero_()
    health = objective.health()
    assert health.loss == pytest.approx(math.log(2), abs=1e-5)
    assert (health.outcome.auc, health.outcome.brier) == (0.5, 0.25)
    metrics = health.metrics()
    assert metrics["eval_rows"] == 18
    assert metrics["eval_auc"] == 0.5


@pytest.mark.parametrize(("make", "keys"), KINDS)
def test_held_out_metrics_improve(llama, tmp_path, make, keys):
    """60 steps: an AUC of 0.5 becomes at least 0.8; both correlations reach 0.5."""
    _, lines = train_rating(
        llama, tmp_path / "run", make(120), held_out=make(50, seed=1), max_steps=60,
        per_device_train_batch_size=16, learning_rate=3e-3, eval_steps=60, **keys,
    )  # fmt: skip
    first, *_, last = (line for line in lines if "eval_loss" in line)
    assert last["eval_loss"] < 0.9 * first["eval_loss"]
    if keys == OUTCOME:
        assert last["eval_auc"] > 0.8
        assert last["eval_accuracy"] > 0.6
    else:
        assert last["eval_correlation_cats"] > 0.5
        assert last["eval_correlation_dogs"] > 0.5
