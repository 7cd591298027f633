"""Sample sizes by hand, and by simulation."""

import numpy as np
import pytest

from benchmarks.power import planned_power, power_of_mde
from rlhf.evaluation.stats.power import (
    WinVariance,
    detectable_difference,
    detectable_effect,
    prompts_needed,
    win_variance,
    worst_variance,
)


def test_textbook_sample_size():
    """((1.9600 + 0.8416)/0.05)² · 0.25 = 784.9; 2.8016 standard errors are detected."""
    assert prompts_needed(0.25, 0.05) == 785
    assert prompts_needed(0.25, 0.03) == 2181
    assert prompts_needed(0.25, 0.10) == 197
    assert detectable_difference(0.02) == pytest.approx(0.056032, abs=1e-6)
    with pytest.raises(ValueError, match="effect of 0"):
        prompts_needed(0.25, 0.0)
    with pytest.raises(ValueError, match="variance"):
        prompts_needed(float("nan"), 0.1)


def test_detectable_effect_of_an_error_and_of_an_interval():
    """1.96 + 0.84 standard errors; an interval is 1.96 of them on each side. A mean of equal
    numbers is exact but for rounding."""
    assert detectable_effect(0.01, 0.0, 1.0) == pytest.approx(0.0280, abs=1e-4)
    assert detectable_effect(None, 0.5 - 0.0196, 0.5 + 0.0196) == pytest.approx(0.0280, abs=1e-4)
    assert detectable_effect(8e-18, 0.19315, 0.19315) is None


def test_few_prompts_detect_less():
    """Student's t with 9 degrees of freedom: 2.2622 + 0.8834 standard errors; a 99% interval of
    many prompts takes 2.5758 + 0.8416."""
    assert detectable_difference(1.0, freedom=9) == pytest.approx(3.1456, abs=1e-4)
    assert detectable_effect(None, -2.2622, 2.2622, freedom=9) == pytest.approx(3.1456, abs=1e-3)
    assert detectable_difference(1.0, level=0.99) == pytest.approx(3.4175, abs=1e-4)


def test_detectable_effect_is_found_with_80_percent_power():
    student, normal = power_of_mde(10, repetitions=400)
    assert student == pytest.approx(0.8, abs=0.05)
    assert normal < student - 0.05


@pytest.mark.slow
@pytest.mark.parametrize("responses", [1, 4])
def test_planned_evaluation_has_80_percent_power(responses):
    """Prompts from the design effect of a pilot, which itself varies."""
    power, _ = planned_power(responses, repetitions=600)
    assert power == pytest.approx(0.8, abs=0.05)


def test_planned_prompts_find_the_win_rate_with_80_percent_power():
    rng = np.random.default_rng(0)
    wins = rng.binomial(785, 0.55, 4000) / 785
    errors = np.sqrt(wins * (1 - wins) / 785)
    assert np.mean(wins - 1.96 * errors > 0.5) == pytest.approx(0.8, abs=0.03)


def test_variance_of_a_prompt_falls_with_responses():
    """0.1 + (0.04 + 0.02)/2 + 0.04/4 of 0.2 in all: two responses count as 1.43."""
    variance = WinVariance(prompt=0.1, model=0.04, baseline=0.02, rest=0.04)
    assert variance.of_prompt(2) == pytest.approx(0.14)
    assert variance.design_effect(2) == pytest.approx(1.4)
    assert worst_variance().design_effect(4) == 4.0
    assert worst_variance().of_prompt(8) == 0.25


def test_pilot_of_another_win_rate_is_scaled():
    """Of a pilot won in 90% the variance is 0.09; at 0.55 it is 0.2475: 778 prompts detect 0.55,
    (2.8016/0.05)² · 0.2475 = 777.04, rounded up. Unscaled it would be 283."""
    pilot = WinVariance(prompt=0.09, model=0.0, baseline=0.0, rest=0.0, win_rate=0.9)
    assert pilot.at(0.55).of_prompt(1) == pytest.approx(0.2475)
    assert prompts_needed(pilot.at(0.55).of_prompt(1), 0.05) == 778


def test_pilot_that_is_always_won_is_the_worst_case():
    won = win_variance([np.ones((2, 2))] * 20)
    assert won.at(0.55) == worst_variance()
    assert worst_variance().at(0.6).of_prompt(1) == 0.25


def test_variance_parts_by_hand():
    """Tables with a row effect, a column effect, and neither, of two prompts.

    [[1, 1], [0, 0]]: MS of rows 1, of columns 0, of the rest 0. [[1, 0], [1, 0]]: 0, 1, 0. On
    average rows 1/2, columns 1/2: both parts 1/4. Both prompts' means are 1/2, so the part of the
    prompts is below 0 and is set to 0. The sum, 1/2, is twice the variance of all comparisons, 1/4.
    """
    tables = [np.array([[1.0, 1.0], [0.0, 0.0]]), np.array([[1.0, 0.0], [1.0, 0.0]])]
    parts = win_variance(tables)
    assert (parts.model, parts.baseline, parts.rest, parts.prompt) == (0.125, 0.125, 0.0, 0.0)


def test_single_responses_cannot_be_split():
    parts = win_variance([np.array([[1.0]]), np.array([[0.0]])])
    assert (parts.prompt, parts.split) == (0.5, False)
    with pytest.raises(ValueError, match="two prompts"):
        win_variance([np.array([[1.0]])])


def test_variance_parts_are_found_in_simulated_prompts():
    """Scores with a prompt, a response and no pair effect, compared by their order."""
    rng = np.random.default_rng(1)
    tables = []
    for _ in range(3000):
        ours = rng.normal(rng.normal(0, 1), 1, 3)[:, None]
        tables.append((ours > rng.normal(0, 1, 3)[None, :]).astype(float))
    parts = win_variance(tables)
    assert parts.total == pytest.approx(0.25, abs=0.005)
    means = np.array([table[:2, :2].mean() for table in tables])
    assert parts.of_prompt(2) == pytest.approx(means.var(), rel=0.06)
