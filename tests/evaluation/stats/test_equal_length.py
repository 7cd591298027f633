"""Win rates at equal length by judges of known taste."""

import numpy as np
import pytest

from rlhf.evaluation.stats.equal_length import equal_length_win_rate


def _compare(rng, judge, *, longer=20.0, prompts=400, pairs=4):
    """Answers `longer` characters longer on average, judged by `judge(difference)` -> P(win)."""
    differences = rng.normal(longer, 40.0, size=(prompts, pairs)).round()
    wins = (rng.random((prompts, pairs)) < judge(differences)).astype(float)
    return wins.tolist(), differences.tolist()


@pytest.mark.parametrize(
    ("judge", "raw"),
    [
        (lambda d: 1 / (1 + np.exp(-d / 10)), 0.68),
        (lambda d: (d > 0) + 0.5 * (d == 0), 0.69),  # Φ(20/40) = 0.69
    ],
)
def test_win_rate_by_length_alone_is_half_at_equal_length(judge, raw):
    """Softly, and without exception; the plain win rate calls the longer model better."""
    rng = np.random.default_rng(0)
    values = []
    for _ in range(5):
        wins, differences = _compare(rng, judge)
        values.append(equal_length_win_rate(wins, differences, resamples=200).value)
        assert np.mean(wins) == pytest.approx(raw, abs=0.05)
    assert np.mean(values) == pytest.approx(0.5, abs=0.03)
    assert values == pytest.approx([0.5] * 5, abs=0.06)


def test_equal_lengths_give_the_win_rate():
    """σ(θ) of an intercept alone is the mean: (1 + ½ + 1 + 0) / 4."""
    estimate = equal_length_win_rate([[1.0, 0.5], [1.0, 0.0]], [[0.0, 0.0]] * 2)
    assert estimate.value == pytest.approx(0.625, abs=1e-6)
    assert (estimate.n, estimate.num_answers) == (2, 4)


def test_better_model_wins_at_equal_length():
    """P(win) = σ(1 + d/40) at d = 0 is σ(1) = 0.731, whatever the lengths are."""
    rng = np.random.default_rng(1)
    wins, differences = _compare(rng, lambda d: 1 / (1 + np.exp(-1 - d / 40)), prompts=1500)
    estimate = equal_length_win_rate(wins, differences, resamples=200)
    assert estimate.value == pytest.approx(0.731, abs=0.03)


def test_interval_covers_and_is_clustered_by_prompt():
    """Two comparisons of a prompt always agree; 80 prompts, a taste for length, σ(θ) = 0.6."""
    rng = np.random.default_rng(5)
    covered = []
    for number in range(300):
        differences = rng.normal(20.0, 40.0, 80)
        logits = np.log(0.6 / 0.4) + np.tanh(differences / np.sqrt((differences**2).mean()))
        wins = (rng.random(80) < 1 / (1 + np.exp(-logits))).astype(float)
        pairs = [[win, win] for win in wins], [[d, d] for d in differences]
        estimate = equal_length_win_rate(*pairs, seed=number, resamples=300)
        covered.append(estimate.low <= 0.6 <= estimate.high)
    assert 0.92 <= np.mean(covered) <= 0.98


def test_unit_of_length_does_not_matter():
    rng = np.random.default_rng(2)
    wins, differences = _compare(rng, lambda d: 1 / (1 + np.exp(-d / 10)))
    tokens = [[d / 4 for d in row] for row in differences]
    of = [equal_length_win_rate(wins, each, resamples=50) for each in (differences, tokens)]
    assert of[0].value == pytest.approx(of[1].value)


@pytest.mark.parametrize("won", [1.0, 0.0])
def test_model_that_always_wins_or_loses_has_the_interval_of_a_rate(won):
    """θ is infinite in every resample. Wilson of 20 heads: 1/(1 + 1.96²/20) = 0.8389."""
    estimate = equal_length_win_rate([[won]] * 20, [[5.0], [-5.0]] * 10, resamples=50)
    assert estimate.value == won
    ends = (0.8389, 1.0) if won else (0.0, 0.1611)
    assert (estimate.low, estimate.high) == pytest.approx(ends, abs=1e-4)


def test_one_newton_step_equals_a_fit_to_each_resample():
    """The width of the interval from one step per resample, compared with that of refits."""
    rng = np.random.default_rng(3)
    wins, differences = _compare(rng, lambda d: 1 / (1 + np.exp(-0.5 - d / 40)), prompts=100)
    estimate = equal_length_win_rate(wins, differences, resamples=2000)
    refits = []
    for _ in range(200):
        rows = rng.integers(0, 100, size=100)
        each = [wins[r] for r in rows], [differences[r] for r in rows]
        refits.append(equal_length_win_rate(*each, resamples=1).value)
    assert estimate.se == pytest.approx(np.std(refits), rel=0.2)


def test_no_comparison_raises():
    with pytest.raises(ValueError, match="nothing to compare"):
        equal_length_win_rate([[]], [[]])


@pytest.mark.parametrize("win", [100.0, float("nan")])
def test_win_that_is_no_share_raises(win):
    with pytest.raises(ValueError, match="a win"):
        equal_length_win_rate([[win], [0.0]], [[1.0], [2.0]])
