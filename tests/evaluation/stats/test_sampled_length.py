"""Win rates without the effect of length by people on some prompts: exact cases and coverage."""

import numpy as np
import pytest

from benchmarks.coverage_people import SAMPLED_JUDGES, sampled_length_coverage
from rlhf.evaluation.stats.equal_length import equal_length_win_rate
from rlhf.evaluation.stats.length_control import length_controlled_win_rate
from rlhf.evaluation.stats.prediction_powered import prediction_powered_mean
from rlhf.evaluation.stats.sampled_length import (
    sampled_equal_length_win_rate,
    sampled_length_controlled_win_rate,
)


def _case(count=200, seed=0):
    """Wins by people with a taste for length, differences and lengths of the baseline."""
    rng = np.random.default_rng(seed)
    d = rng.normal(100, 300, count)
    wins = rng.random(count) < 1 / (1 + np.exp(-0.4 - np.tanh(d / 300)))
    lengths = np.exp(rng.normal(7.0, 0.4, count))
    return tuple([[float(value)] for value in each] for each in (wins, d, lengths))


def test_labels_of_all_prompts_give_the_estimators_of_one_judge():
    """The same value, and the standard error of the bootstrap up to its noise."""
    wins, differences, lengths = _case()
    known = length_controlled_win_rate(wins, differences, lengths)
    people = sampled_length_controlled_win_rate(None, wins, differences, lengths).people
    assert people.value == pytest.approx(known.value, abs=1e-9)
    assert people.se == pytest.approx(known.se, rel=0.08)
    known = equal_length_win_rate(wins, differences)
    people = sampled_equal_length_win_rate(None, wins, differences).people
    assert people.value == pytest.approx(known.value, abs=1e-9)
    assert people.se == pytest.approx(known.se, rel=0.08)


def test_equal_lengths_give_the_prediction_powered_mean():
    """Without a length term σ(θ) is the mean and a prompt's influence is its win minus the mean."""
    predictions, labels = [1, 1, 0, 0, 1, 1] * 10, [1, 1, 0, 1, None, None] * 10
    mean = prediction_powered_mean(predictions, labels)
    estimate = sampled_equal_length_win_rate(
        [[float(win)] for win in predictions],
        [None if win is None else [float(win)] for win in labels],
        [[0.0]] * 60,
    )
    assert estimate.judge_weight == pytest.approx(9 / 14)
    for name in ("combined", "people"):
        ours, theirs = getattr(estimate, name), getattr(mean, name)
        assert (ours.value, ours.se) == (pytest.approx(theirs.value), pytest.approx(theirs.se))
        assert ours.high - ours.low > theirs.high - theirs.low  # a degree of freedom less


def test_several_comparisons_of_a_prompt_share_its_weight():
    """Each comparison twice is the same evaluation: its prompts stay as many."""
    wins, differences, lengths = _case(count=40)
    once = sampled_length_controlled_win_rate(None, wins, differences, lengths).people
    twice = sampled_length_controlled_win_rate(
        None, *([group * 2 for group in each] for each in (wins, differences, lengths))
    ).people
    # s of the differences is that of 80 numbers: 79 and not 39 in 40 of the sum of squares.
    assert twice.value == pytest.approx(once.value, abs=1e-3)
    assert twice.se == pytest.approx(once.se, rel=0.01)


def test_prompts_with_a_low_probability_count_more():
    """Prompts that people win were drawn with 1/3, the others with 1: they weigh 3 to 1.

    Half of the labels are won, so the win rate at equal lengths is 3/4.
    """
    labels = [[1.0], [0.0]] * 10
    estimate = sampled_equal_length_win_rate(None, labels, [[0.0]] * 20, [1 / 3, 1.0] * 10)
    assert estimate.people.value == pytest.approx(0.75)


def test_equal_labels_have_an_interval_with_a_width():
    """Ten wins of ten: Wilson's interval from 1/(1 + 1.96²/10) to 1."""
    labels, differences = [[1.0]] * 10 + [None] * 5, [[5.0], [-5.0], [1.0]] * 5
    verdicts = [[1.0], [0.0], [1.0]] * 5
    people = sampled_equal_length_win_rate(verdicts, labels, differences).people
    assert (people.low, people.high) == (pytest.approx(1 / (1 + 1.96**2 / 10), abs=1e-4), 1.0)


@pytest.mark.parametrize("equal_length", [False, True])
@pytest.mark.parametrize("name", SAMPLED_JUDGES)
def test_interval_covers_whatever_the_judge_is_like(name, equal_length):
    """60 labels of 400 prompts: 0.92 to 0.97, and one per cent more for 500 repetitions."""
    coverage = sampled_length_coverage(
        SAMPLED_JUDGES[name], repetitions=500, equal_length=equal_length
    )
    assert 0.92 <= coverage.combined <= 0.98
    assert 0.92 <= coverage.people <= 0.98
    assert coverage.width <= (0.95 if name == "prefers longer" else 1.0)


def test_arguments_that_do_not_fit_raise():
    wins, differences, lengths = _case(count=12)
    with pytest.raises(ValueError, match="9 prompts have labels"):
        sampled_equal_length_win_rate(None, [*wins[:9], None, None, None], differences)
    with pytest.raises(ValueError, match="13 wins of 12"):
        sampled_length_controlled_win_rate(None, [*wins[:11], [1.0, 0.0]], differences, lengths)
