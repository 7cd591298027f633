"""Win rates by people on some prompts and a judge on all: a literal case, and coverage."""

import math

import pytest

from benchmarks.coverage_people import JUDGES, ppi_coverage
from rlhf.evaluation.stats.prediction_powered import prediction_powered_mean


def test_six_prompts_ten_times_each():
    """Predictions 1 1 0 0 1 1, labels 1 1 0 1 - -, of equal probability, so w = 3/2.

    ȳ = 3/4, f̄ = 2/3, f̄_w = 1/2. Per block of six Σ w(y-ȳ)B = -3/8 and Σ B² = 7/12, with B = -5/12,
    -5/12, 1/12, 1/12, 1/3, 1/3, so λ = 9/14 and the mean is 3/4 + 9/14 · (2/3 - 1/2) = 6/7. Each of
    the 40 labels has the leverage 1/40 + 1/40, so its residual is divided by sqrt(0.95) and Σ ψ² is
    15.009: the standard error is sqrt(15.009)/60. People alone: s/sqrt(40), s² = 40/39 · 3/16.
    """
    estimate = prediction_powered_mean([1, 1, 0, 0, 1, 1] * 10, [1, 1, 0, 1, None, None] * 10)
    assert estimate.judge_weight == pytest.approx(9 / 14)
    assert estimate.combined.value == pytest.approx(6 / 7)
    assert estimate.combined.se == pytest.approx(0.064569, abs=1e-6)
    assert estimate.people.value == pytest.approx(0.75)
    assert estimate.people.se == pytest.approx(math.sqrt(40 / 39 * 3 / 16 / 40))
    assert (estimate.num_labelled, estimate.combined.n) == (40, 60)
    # Student's t with 38 degrees of freedom on the log-odds, log 6.
    half = 2.024394 * 0.064569 / (6 / 49)
    assert estimate.combined.low == pytest.approx(1 / (1 + math.exp(half) / 6), abs=1e-5)
    assert estimate.combined.high == pytest.approx(1 / (1 + math.exp(-half) / 6), abs=1e-5)


def test_judge_that_never_varies_leaves_people_alone():
    estimate = prediction_powered_mean([0.5] * 8, [1.0, 0.0, 1.0, 1.0, None, None, None, None])
    assert estimate.judge_weight == 0.0
    assert estimate.combined == estimate.people
    assert estimate.people.value == 0.75


def test_all_prompts_labelled_need_no_judge():
    labels = [1.0, 0.0, 1.0, 1.0, 0.5]
    estimate = prediction_powered_mean([0.0, 1.0, 0.0, 0.0, 1.0], labels)
    assert estimate.combined == estimate.people
    assert estimate.people.value == pytest.approx(0.7)


def test_labels_count_by_their_probability():
    """Weights 1/0.5, 1/0.25, 1/1: (2 · 1 + 4 · 0 + 1 · 1)/7. The certain label is not drawn."""
    estimate = prediction_powered_mean(
        [0.5] * 5, [1.0, 0.0, 1.0, None, None], [0.5, 0.25, 1.0, 0.9, 0.1]
    )
    assert estimate.people.value == pytest.approx(3 / 7)
    assert estimate.num_labelled == 2


def test_equal_labels_have_an_interval_with_a_width():
    """Wilson's of 4 heads in 4 flips: 1/(1 + 1.96²/4)."""
    estimate = prediction_powered_mean([0.5] * 8, [1.0] * 4 + [None] * 4)
    assert estimate.people.low == pytest.approx(1 / (1 + 1.96**2 / 4), abs=1e-4)
    assert estimate.people.high == 1.0


@pytest.mark.parametrize("name", JUDGES)
def test_interval_covers_whatever_the_judge_is_like(name):
    """60 labels of 400 prompts, drawn by the judge's uncertainty. 0.92 to 0.97, and one per cent
    more for 500 repetitions."""
    coverage = ppi_coverage(JUDGES[name], repetitions=500)
    assert 0.92 <= coverage.combined <= 0.98
    assert coverage.width <= 1.0
    assert coverage.width_uniform <= 1.05
    if name in ("biased", "noisy", "unsure", "contrary"):
        assert coverage.width < 0.9


def test_arguments_that_do_not_fit_raise():
    with pytest.raises(ValueError, match="2 labels"):
        prediction_powered_mean([1.0, 0.0, 1.0], [1.0, 0.0, None])
    with pytest.raises(ValueError, match="probability"):
        prediction_powered_mean([1.0] * 3, [1.0, 0.0, 1.0], [0.0, 0.5, 0.5])
    with pytest.raises(ValueError, match="3 labels"):
        prediction_powered_mean([1.0] * 4, [1.0, 0.0, 1.0])
    with pytest.raises(ValueError, match="not finite"):
        prediction_powered_mean([float("nan"), 0.5, 0.5, 0.5], [1.0, 0.0, 1.0, None])
    with pytest.raises(ValueError, match="outside"):  # percent
        prediction_powered_mean([0.5] * 4, [100.0, 0.0, 100.0, None])
