"""Strengths of models by value."""

import numpy as np
import pytest

from benchmarks.coverage_intervals import strength_coverage
from rlhf.evaluation.stats.bradley_terry import bradley_terry, bradley_terry_of_wins


def test_two_models_by_hand():
    """99 prompts, 74 won and 25 lost; with half a game each 74.5 to 25.5: log odds 1.072."""
    scores = [[1.0]] * 74 + [[-1.0]] * 25
    strengths = bradley_terry([scores, [[0.0]] * 99], resamples=200)
    difference = strengths[0].value - strengths[1].value
    assert difference == pytest.approx(np.log(74.5 / 25.5))
    assert strengths[0].value + strengths[1].value == pytest.approx(0.0)


def test_true_strengths_are_recovered():
    """Gumbel noise on scores is exactly Bradley-Terry: differences of strength 1 and 2."""
    rng = np.random.default_rng(0)
    scores = [(strength + rng.gumbel(size=(2000, 1))).tolist() for strength in (0.0, 1.0, 3.0)]
    estimates = bradley_terry(scores, resamples=200)
    values = [one.value for one in estimates]
    assert np.diff(values) == pytest.approx([1.0, 2.0], abs=0.2)
    assert all(one.low < one.value < one.high for one in estimates)


def test_interval_covers_the_true_strength():
    """Scores s + Gumbel noise: P(i beats j) = σ(s_i - s_j). 40 prompts, a response of each model.

    A game is added to each pair, so strengths are drawn towards 0 by about 1/41.
    """
    rng, truth = np.random.default_rng(4), np.array([-0.7, 0.0, 0.7])
    covered = []
    for number in range(300):
        scores = truth[:, None] + rng.gumbel(size=(3, 40))
        estimates = bradley_terry(scores[:, :, None].tolist(), seed=number, resamples=300)
        covered += [e.low <= s <= e.high for e, s in zip(estimates, truth, strict=True)]
    assert 0.92 <= np.mean(covered) <= 0.98


def test_strength_of_a_model_that_loses_every_game_is_finite():
    scores = [[[0.0]] * 50, [[1.0]] * 50, [[2.0]] * 50]
    values = [one.value for one in bradley_terry(scores, resamples=50)]
    assert values == sorted(values)
    assert np.isfinite(values).all()


def test_interval_of_a_model_that_never_loses_is_wide_above():
    """99 games of 99: the difference is log((99 + a) / b), a and b the weights of the added halves.

    Both are 1/2 for the value, log(99.5 / 0.5) = 5.29. Gamma(1/2) is half of a squared normal: 95%
    of b lie from 0.0314² / 2 = 0.000491 to 2.2414² / 2 = 2.512, which are 12.22 and 3.68 with a =
    1/2. Without the weights every resample would say 5.29.
    """
    best = bradley_terry([[[1.0]] * 99, [[0.0]] * 99], resamples=4000)[0]
    assert 2 * best.value == pytest.approx(5.293, abs=1e-3)
    assert 2 * best.low == pytest.approx(3.68, abs=0.15)
    assert 2 * best.high == pytest.approx(12.22, abs=0.6)


def test_interval_of_six_games_won_is_wide_below():
    """0.24% of resamples are below, from Student's t with five degrees of freedom: 99.76% of b are
    below 3.036² / 2 = 4.61, log(6.5 / 4.61) = 0.34, a win rate of 0.58, of which six wins in six
    have a chance of 4%. One weight for both halves gave 1.10, 0.75, and a chance of 18%."""
    best = bradley_terry([[[1.0]] * 6, [[0.0]] * 6], resamples=8000)[0]
    assert 2 * best.low == pytest.approx(0.34, abs=0.15)


@pytest.mark.slow  # seconds
@pytest.mark.parametrize("prompts", [6, 8, 12, 20])
def test_interval_of_few_votes_covers_whatever_the_win_rate(prompts):
    assert strength_coverage(prompts) > 0.92


def test_five_prompts_have_no_interval_and_six_have():
    """By chance five prompts are all won or all lost in 2 / 32 = 6% of cases, six in 3%. One or two
    prompts would give an interval almost without a width, and one of any width excludes 0."""
    for prompts in (1, 2, 5):
        for one in bradley_terry([[[1.0]] * prompts, [[0.0]] * prompts], resamples=50):
            assert (one.low, one.high, one.se, one.mde) == (-np.inf, np.inf, None, None)
            assert not one.has_interval
    # The value is as before: σ(difference) = (5 + 1/2) / 6.
    best, worst = bradley_terry([[[1.0]] * 5, [[0.0]] * 5], resamples=50)
    assert best.value - worst.value == pytest.approx(np.log(5.5 / 0.5))
    assert all(
        one.has_interval and one.mde > 0
        for one in bradley_terry([[[1.0]] * 6, [[0.0]] * 6], resamples=50)
    )


def test_models_with_few_prompts_have_no_interval_next_to_others_with_many():
    wins = np.zeros((20, 3, 3))
    wins[:15, 0, 1] = wins[15:, 1, 0] = wins[:5, 0, 2] = 1.0
    estimates = bradley_terry_of_wins(wins, resamples=50)
    assert [(one.n, one.has_interval) for one in estimates] == [(20, True), (20, True), (5, False)]


def test_ties_are_half_a_win_and_half_a_loss():
    """Ties alone are no difference; with 20 wins, 60 ties, 20 losses neither: 50.5 to 50.5."""
    assert bradley_terry([[[1.0]] * 30, [[1.0]] * 30])[0].value == pytest.approx(0.0)
    mixed = [[1.0]] * 20 + [[0.0]] * 60 + [[-1.0]] * 20
    assert bradley_terry([mixed, [[0.0]] * 100])[0].value == pytest.approx(0.0)
    won = [[1.0]] * 40 + [[0.0]] * 60  # 70 of 100 with ties as halves
    difference = 2 * bradley_terry([won, [[0.0]] * 100])[0].value
    assert difference == pytest.approx(np.log(70.5 / 30.5))


def test_prompts_without_responses_of_a_model_are_left_out():
    estimates = bradley_terry([[[1.0], []], [[0.0], [9.0]]], resamples=20)
    assert [one.n for one in estimates] == [1, 1]


def test_one_model_raises():
    with pytest.raises(ValueError, match="two models"):
        bradley_terry([[[1.0]]])


def test_wins_of_two_models_equal_their_scores():
    """One game at each prompt: both estimators see the same table and the same resamples."""
    scores = [[1.0]] * 30 + [[-1.0]] * 10
    wins = np.array([[[0.0, 1.0], [0.0, 0.0]]] * 30 + [[[0.0, 0.0], [1.0, 0.0]]] * 10)
    expected = bradley_terry([scores, [[0.0]] * 40], resamples=100)
    assert bradley_terry_of_wins(wins, resamples=100) == expected


def test_models_that_never_met_are_compared_through_a_third():
    """0 beats 1 in 300 of 400 games, 1 beats 2 in 300 of 400: 0 is ahead of 2 by 2 log 3 = 2.197.

    The added half game of each pair, among them 0 against 2, takes a little off.
    """
    first = np.zeros((400, 3, 3))
    first[:300, 0, 1] = first[300:, 1, 0] = 1.0
    second = np.zeros((400, 3, 3))
    second[:300, 1, 2] = second[300:, 2, 1] = 1.0
    estimates = bradley_terry_of_wins(np.concatenate([first, second]), resamples=100)
    assert estimates[0].value - estimates[2].value == pytest.approx(2 * np.log(3), abs=0.05)
    assert [one.n for one in estimates] == [400, 800, 400]
    assert all(one.low < one.value < one.high for one in estimates)
