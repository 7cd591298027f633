"""Length-controlled win rates: exact cases, simulated judges, and AlpacaEval 2 if present."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from benchmarks.length_control import alone, paired_by_place, read_models, together
from rlhf.evaluation.stats.bootstrap import rate
from rlhf.evaluation.stats.length_control import (
    FEWEST_MODELS,
    length_controlled_win_rate,
    length_controlled_win_rates,
)
from rlhf.evaluation.stats.prompt_difficulty import prompt_difficulty

ALPACA = Path(__file__).parents[4] / "shared/data/judgements/alpacaeval2-20-models.jsonl.gz"


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _groups(values):
    return [[float(value)] for value in values]


@pytest.mark.parametrize("taste", [1.0, 2.5])
def test_taste_of_the_judge_is_taken_out_exactly(taste):
    """P(win) = σ(θ + taste · tanh(Δ/s)) with σ(θ) = 1/4: the comparisons that hold the taste fit
    as exactly as the model's, so the maximum of the likelihood is θ itself."""
    differences = np.random.default_rng(0).normal(-300, 400, 50)
    x = np.tanh(differences / differences.std(ddof=1))
    wins = _sigmoid(np.log(1 / 3) + taste * x)
    assert wins.mean() < 0.24
    estimate = length_controlled_win_rate(_groups(wins), _groups(differences), taste=taste)
    assert estimate.value == pytest.approx(0.25, abs=1e-6)
    assert (estimate.n, estimate.num_answers) == (50, 50)


def test_symmetric_comparisons_are_half_whatever_the_taste():
    """0.9 where the response is longer, 0.1 where it is shorter: θ = 0 by symmetry."""
    wins, differences = [[0.9], [0.1]] * 10, [[50.0], [-50.0]] * 10
    assert length_controlled_win_rate(wins, differences).value == pytest.approx(0.5, abs=1e-9)


def test_equal_lengths_give_the_win_rate():
    """Without a length term the prediction has the mean of the wins, also with difficulties."""
    wins, zero = [[1.0, 0.5], [1.0, 0.0]], [[0.0, 0.0]] * 2
    assert length_controlled_win_rate(wins, zero).value == pytest.approx(0.625, abs=1e-6)
    known = length_controlled_win_rate(wins, zero, difficulty=[1.0, -1.0])
    assert known.value == pytest.approx(0.625, abs=1e-6)


def test_taste_counts_for_less_if_difficulty_is_known():
    """A judge without a taste for length: the taste of 1 biases the value, less so at 20%."""
    rng = np.random.default_rng(1)
    differences = _groups(rng.normal(-300, 300, 400))
    wins = _groups(rng.integers(0, 2, 400))
    unknown = length_controlled_win_rate(wins, differences).value
    known = length_controlled_win_rate(wins, differences, difficulty=rng.normal(size=400)).value
    assert 0.5 < known < unknown < 0.65


@pytest.mark.parametrize("won", [1.0, 0.0])
def test_model_that_always_wins_or_loses_has_the_interval_of_a_rate(won):
    """θ is infinite in every resample. Wilson of 20 heads: 1/(1 + 1.96²/20) = 0.8389."""
    wins, differences = [[won]] * 20, [[5.0], [-5.0]] * 10
    estimate = length_controlled_win_rate(wins, differences, resamples=50)
    assert estimate.value == won
    ends = (0.8389, 1.0) if won else (0.0, 0.1611)
    assert (estimate.low, estimate.high) == pytest.approx(ends, abs=1e-4)


def test_one_prompt_tells_nothing():
    estimate = length_controlled_win_rate([[1.0, 0.0]], [[5.0, -3.0]], resamples=50)
    assert (estimate.value, estimate.low, estimate.high) == (0.5, 0.0, 1.0)


def test_prompts_without_comparisons_are_left_out():
    wins, differences, lengths = [[1.0], [], [0.0]], [[3.0], [], [-4.0]], [[9.0], [], [5.0]]
    estimate = length_controlled_win_rate(
        wins, differences, lengths, difficulty=[0.0, 9.0, 1.0], resamples=20
    )
    assert (estimate.n, estimate.num_answers) == (2, 2)


def test_interval_covers_and_is_clustered_by_prompt():
    """The two comparisons of a prompt always agree. As 160 prompts the interval would be 1.4 times
    too narrow, and cover in 83% of repetitions. Truth: σ(θ) = 0.4."""
    rng = np.random.default_rng(2)
    covered, narrow = [], []
    for _ in range(300):
        differences = rng.normal(-100, 200, 80)
        x = np.tanh(differences / differences.std(ddof=1))
        wins = (rng.random(80) < _sigmoid(np.log(2 / 3) + x)).astype(float)
        pairs = [[win, win] for win in wins], [[d, d] for d in differences]
        one = length_controlled_win_rate(*pairs, resamples=200)
        covered.append(one.low <= 0.4 <= one.high)
        flat = [[[v] for group in each for v in group] for each in pairs]
        other = length_controlled_win_rate(*flat, resamples=200)
        narrow.append(other.low <= 0.4 <= other.high)
    assert 0.92 <= np.mean(covered) <= 0.975
    assert np.mean(narrow) < 0.9


def _leaderboard(rng, num_models, prompts=400):
    """Models of different strength at prompts of different difficulty; truth and comparisons."""
    difficulty = rng.normal(0, 1.5, prompts)
    baseline = np.exp(rng.normal(7.3, 0.6, prompts))
    strengths = np.linspace(-2.5, 1.0, num_models)
    wins, differences, truth = [], [], []
    for strength in strengths:
        d = baseline * rng.uniform(0.2, 1.2, prompts) - baseline
        logits = strength + difficulty
        truth.append(_sigmoid(logits).mean())
        p = _sigmoid(logits + np.tanh(d / d.std(ddof=1)))
        wins.append(_groups(rng.random(prompts) < p))
        differences.append(_groups(d))
    return difficulty, wins, differences, [_groups(baseline)] * num_models, np.array(truth)


def test_difficulty_is_estimated_from_several_models():
    rng = np.random.default_rng(3)
    difficulty, wins, differences, lengths, truth = _leaderboard(rng, 16)
    found = prompt_difficulty(wins, differences)
    assert np.corrcoef(found, difficulty)[0, 1] > 0.8
    assert np.mean(found) == pytest.approx(0.0, abs=1e-9)
    estimates = length_controlled_win_rates(wins, differences, lengths, resamples=20)
    errors = np.array([one.value for one in estimates]) - truth
    assert np.abs(errors).mean() < 0.025
    raw = np.array([np.mean(one) for one in wins]) - truth
    assert np.abs(raw).mean() > 0.05


@pytest.mark.slow
def test_intervals_with_estimated_difficulty_cover():
    """Twelve models at 150 prompts: the mean of σ(strength + difficulty) over all prompts that
    could have been drawn. Difficulty is taken as known, and it is that of the drawn prompts."""
    rng = np.random.default_rng(5)
    everything = rng.normal(0, 1.5, 100_000)
    truth = [_sigmoid(strength + everything).mean() for strength in np.linspace(-2.5, 1.0, 12)]
    covered = []
    for _ in range(60):
        _, wins, differences, lengths, _ = _leaderboard(rng, 12, prompts=150)
        estimates = length_controlled_win_rates(wins, differences, lengths, resamples=300)
        covered += [one.low <= true <= one.high for one, true in zip(estimates, truth, strict=True)]
    assert 0.90 <= np.mean(covered) <= 0.99


def test_few_models_are_estimated_one_at_a_time():
    rng = np.random.default_rng(4)
    _, wins, differences, lengths, _ = _leaderboard(rng, FEWEST_MODELS - 1, prompts=60)
    together_ = length_controlled_win_rates(wins, differences, lengths, resamples=20)
    first = length_controlled_win_rate(wins[0], differences[0], lengths[0], resamples=20)
    assert together_[0] == first


def test_shapes_that_differ_raise():
    with pytest.raises(ValueError, match="nothing to compare"):
        length_controlled_win_rate([[]], [[]])
    with pytest.raises(ValueError, match="2 wins at 2 prompts and 1 differences"):
        length_controlled_win_rate([[1.0], [0.0]], [[1.0], []])
    with pytest.raises(ValueError, match="1 lengths of the baseline"):
        length_controlled_win_rate([[1.0], [0.0]], [[1.0], [2.0]], [[9.0]])
    with pytest.raises(ValueError, match="1 difficulties"):
        length_controlled_win_rate([[1.0], [0.0]], [[1.0], [2.0]], difficulty=[0.0])
    with pytest.raises(ValueError, match="model 1"):
        prompt_difficulty([[[1.0]], [[1.0]]], [[[1.0]], [[]]])


NAN = float("nan")


@pytest.mark.parametrize(
    ("wins", "differences", "lengths"),
    [
        ([[1.0], [NAN]], [[1.0], [2.0]], [[9.0], [8.0]]),
        ([[100.0], [0.0]], [[1.0], [2.0]], [[9.0], [8.0]]),  # percent
        ([[1.0], [0.0]], [[1.0], [NAN]], [[9.0], [8.0]]),
        ([[1.0], [0.0]], [[1.0], [2.0]], [[9.0], [-8.0]]),
        ([[1.0], [0.0]], [[1.0], [2.0]], [[9.0], [NAN]]),
    ],
)
def test_numbers_that_cannot_be_used_raise(wins, differences, lengths):
    with pytest.raises(ValueError, match=r"a win|a length"):
        length_controlled_win_rate(wins, differences, lengths)


def test_published_figures_of_alpacaeval_2():
    """20 models of the leaderboard; docs/research/evaluation.md has the table."""
    if not ALPACA.is_file():
        pytest.skip(f"{ALPACA} is not there")
    models = read_models(str(ALPACA))
    published = np.array([model.published["length_controlled_winrate"] for model in models])
    for model in models:
        win_rate = rate(model.wins, resamples=1)
        assert 100 * win_rate.value == pytest.approx(model.published["win_rate"], abs=1e-3)
        assert 100 * win_rate.se == pytest.approx(model.published["standard_error"], abs=1e-3)
    assert np.abs(together(models) - published).mean() < 0.5
    # AlpacaEval pairs a prompt with the difficulty at its place in the model's list, which matters
    # for the one model that lacks a prompt.
    by_place = paired_by_place(models)
    assert np.abs(by_place - published).mean() < 0.25
    assert spearmanr(by_place, published).statistic > 0.99
    assert np.abs([alone(model) for model in models] - published).mean() < 0.7
