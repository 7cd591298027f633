"""Parts against the rest: by hand, and by simulation under no difference."""

import numpy as np
import pytest

from benchmarks.coverage_intervals import false_discoveries
from rlhf.evaluation.stats.parts import benjamini_hochberg, compare_parts, worst_part


def test_benjamini_hochberg_by_hand():
    """p m/rank: 0.01 · 4/1, 0.02 · 4/2, 0.03 · 4/3, 0.5; each the lowest of those from it on."""
    assert benjamini_hochberg([0.5, 0.02, 0.01, 0.03]) == pytest.approx([0.5, 0.04, 0.04, 0.04])
    assert benjamini_hochberg([0.01, 0.9]) == pytest.approx([0.02, 0.9])
    assert benjamini_hochberg([]) == []


def test_part_against_rest_by_hand():
    """Facts 1, 1, 0; stories 0, 0, 1 and 0 at the last prompt: means 2/3 and 1/4.

    For p, facts get a 1 and a 0: mean 3/5, Σ d² = (3 · 0.4² + 2 · 0.6²)/25 = 0.048. Stories have
    4/3 cases a prompt, so they get 4/3 wins and 4/3 losses: mean (7/3)/(20/3) = 0.35, Σ d² = (2 ·
    0.35² + (1 - 2 · 0.35)² + (4/3)² (0.65² + 0.35²))/(20/3)² = 0.02934. t = 0.25/sqrt(0.07734) =
    0.8990 with 4 degrees of freedom: p = 0.4195.
    """
    cases = [("a", "facts", 1.0), ("b", "facts", 1.0), ("c", "facts", 0.0), ("d", "stories", 0.0),
             ("e", "stories", 0.0), ("f", "stories", 1.0), ("f", "stories", 0.0)]  # fmt: skip
    facts, stories = compare_parts(cases)
    assert (facts.name, facts.estimate.n) == ("facts", 3)
    assert facts.estimate.value == pytest.approx(2 / 3)
    assert stories.estimate.value == pytest.approx(1 / 4)
    assert facts.difference == -stories.difference == pytest.approx(5 / 12)
    assert [facts.p, stories.p, facts.q] == pytest.approx([0.4195] * 3, abs=2e-4)
    assert stories.estimate.num_answers == 4


def test_single_part_and_small_parts_are_left_out():
    assert compare_parts([("a", "x", 1.0), ("b", "x", 0.0)]) == []
    assert compare_parts([("a", "x", 1.0), ("b", "x", 0.0), ("c", "y", 1.0)]) == []


@pytest.mark.parametrize("value", [3.0, float("nan")])
def test_numbers_outside_0_and_1_raise(value):
    with pytest.raises(ValueError, match="outside"):
        compare_parts([("a", "x", 1.0), ("b", "x", value), ("c", "y", 1.0), ("d", "y", 0.0)])
    with pytest.raises(ValueError, match="p-value"):
        benjamini_hochberg([0.01, value])


def _p_values(rng, repetitions):
    """Two groups of annotators judge the same 60 prompts, of which each has its own win rate."""
    for _ in range(repetitions):
        chances = rng.choice([0.1, 0.9], 60)
        cases = [
            (str(prompt), group, float(rng.random() < chances[prompt]))
            for prompt in range(60)
            for group in ("x", "y", "y")
        ]
        yield compare_parts(cases)[0].p


def test_paired_groups_without_a_difference_are_rarely_named():
    p = np.array(list(_p_values(np.random.default_rng(0), 800)))
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.025)
    assert np.mean(p < 0.5) == pytest.approx(0.5, abs=0.06)


def test_part_without_variance_by_hand():
    """Three prompts won, three lost; with a win and a loss more the means are 4/5 and 1/5.

    Σ d² = 2 (4 · 0.2² + 0.8²)/25 = 0.064, t = 0.6/0.25298 = 2.3717 with 4 degrees of freedom.
    """
    cases = [(f"{name} {i}", name, value) for name, value in (("x", 1.0), ("y", 0.0))
             for i in range(3)]  # fmt: skip
    assert [part.p for part in compare_parts(cases)] == pytest.approx([0.0767] * 2, abs=2e-4)


@pytest.mark.parametrize(("prompts", "others", "chance"), [(3, 40, 0.5), (10, 100, 0.9)])
def test_small_parts_without_a_difference_are_rarely_named(prompts, others, chance):
    """Such a part is often all won: without variance of its own it was named in 25% and 32%."""
    rng, named = np.random.default_rng(3), []
    for _ in range(1000):
        cases = [
            (f"{name}{i}", name, float(rng.random() < chance))
            for name, number in (("x", prompts), ("y", others))
            for i in range(number)
        ]
        named.append(compare_parts(cases)[0].p < 0.05)
    assert np.mean(named) <= 0.05


def test_part_and_rest_that_are_equal_on_every_prompt_do_not_differ():
    same = [(str(prompt), group, 1.0) for prompt in range(5) for group in "xy"]
    assert [part.p for part in compare_parts(same)] == [1.0, 1.0]


@pytest.mark.parametrize("different", [0, 3])
def test_false_discoveries_stay_below_5_percent(different):
    assert false_discoveries(parts=12, different=different, repetitions=2000) < 0.06


def test_worst_part_by_hand():
    """Two of eight prompts won, and six of eight: 0.25, Σ r² = 2 · 0.75² + 6 · 0.25² = 1.5.

    The standard error is sqrt(8/7 · 1.5)/8 = 0.16366. Two parts share 5%: t of 7 degrees of freedom
    at 97.5% two-sided is 2.8412, so the interval ends at 0.25 + 0.4650; it detects 2.8412 + 0.8960
    standard errors.
    """
    cases = [(f"{name}{i}", name, float(i < won)) for name, won in (("x", 2), ("y", 6))
             for i in range(8)]  # fmt: skip
    worst = worst_part(compare_parts(cases))
    assert (worst.name, worst.estimate.value) == ("x", 0.25)
    assert worst.estimate.se == pytest.approx(0.16366, abs=1e-5)
    assert (worst.estimate.low, worst.estimate.high) == pytest.approx((0.0, 0.7150), abs=1e-4)
    assert worst.estimate.mde == pytest.approx(3.7372 * 0.16366, abs=2e-4)


def test_worst_part_has_an_interval_for_all_parts_together():
    """Of six equal parts the lowest is below 0.5 by chance; 95% of its intervals include 0.5."""
    rng = np.random.default_rng(1)
    covered, single = [], []
    for _ in range(200):
        cases = [(f"{i}", f"part {i % 6}", float(rng.random() < 0.5)) for i in range(240)]
        parts = compare_parts(cases)
        worst = worst_part(parts)
        covered.append(worst.estimate.low <= 0.5 <= worst.estimate.high)
        own = next(part for part in parts if part.name == worst.name).estimate
        single.append(own.low <= 0.5 <= own.high)
    assert np.mean(covered) >= 0.94
    assert np.mean(single) < 0.9
    assert worst_part([]) is None
