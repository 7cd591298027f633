"""Strengths of models by value."""

import numpy as np
import pytest

from rlhf.evaluation.bradley_terry import bradley_terry


def test_two_models_by_hand():
    """99 prompts, 74 won and 25 lost; with half a game each 74.5 to 25.5: log odds 1.072."""
    ours = [[1.0]] * 74 + [[-1.0]] * 25
    strengths = bradley_terry([ours, [[0.0]] * 99], resamples=200)
    difference = strengths[0].value - strengths[1].value
    assert difference == pytest.approx(np.log(74.5 / 25.5))
    assert strengths[0].value + strengths[1].value == pytest.approx(0.0)


def test_strengths_that_made_the_games_come_back():
    """Gumbel noise on scores is exactly Bradley-Terry: differences of strength 1 and 2."""
    rng = np.random.default_rng(0)
    scores = [(strength + rng.gumbel(size=(2000, 1))).tolist() for strength in (0.0, 1.0, 3.0)]
    found = bradley_terry(scores, resamples=200)
    values = [one.value for one in found]
    assert np.diff(values) == pytest.approx([1.0, 2.0], abs=0.2)
    assert all(one.low < one.value < one.high for one in found)


def test_a_model_that_loses_every_game_has_a_finite_place():
    scores = [[[0.0]] * 50, [[1.0]] * 50, [[2.0]] * 50]
    values = [one.value for one in bradley_terry(scores, resamples=50)]
    assert values == sorted(values)
    assert np.isfinite(values).all()


def test_prompts_that_a_model_did_not_answer_are_left_out():
    found = bradley_terry([[[1.0], []], [[0.0], [9.0]]], resamples=20)
    assert [one.n for one in found] == [1, 1]


def test_one_model_cannot_be_ranked():
    with pytest.raises(ValueError, match="two models"):
        bradley_terry([[[1.0]]])
