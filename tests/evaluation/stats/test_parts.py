"""Parts against the rest: by hand, and by simulation under no difference."""

import numpy as np
import pytest

from benchmarks.coverage import false_discoveries
from rlhf.evaluation.stats.parts import benjamini_hochberg, compare_parts, worst_part


def test_benjamini_hochberg_by_hand():
    """p m/rank: 0.01 · 4/1, 0.02 · 4/2, 0.03 · 4/3, 0.5; each the lowest of those from it on."""
    assert benjamini_hochberg([0.5, 0.02, 0.01, 0.03]) == pytest.approx([0.5, 0.04, 0.04, 0.04])
    assert benjamini_hochberg([0.01, 0.9]) == pytest.approx([0.02, 0.9])
    assert benjamini_hochberg([]) == []


def test_part_against_rest_by_hand():
    """Facts 1, 1, 0; stories 0, 0, 1 and 0 at the last prompt: means 2/3 and 1/4.

    SE² = 6/5 (Σ (1/9, 1/9, 4/9)/9 + Σ ((0 - 1/4)², (0 - 1/4)², (1 - 2/4)²)/16) = 6/5 (0.07407 +
    0.02344) = 0.11701, t = (5/12)/0.34207 = 1.2181 with 2 degrees of freedom: p = 0.3473.
    """
    cases = [("a", "facts", 1.0), ("b", "facts", 1.0), ("c", "facts", 0.0), ("d", "stories", 0.0),
             ("e", "stories", 0.0), ("f", "stories", 1.0), ("f", "stories", 0.0)]  # fmt: skip
    facts, stories = compare_parts(cases)
    assert (facts.name, facts.estimate.n) == ("facts", 3)
    assert facts.estimate.value == pytest.approx(2 / 3)
    assert stories.estimate.value == pytest.approx(1 / 4)
    assert facts.difference == -stories.difference == pytest.approx(5 / 12)
    assert facts.p == stories.p == facts.q == pytest.approx(0.3473, abs=2e-4)
    assert stories.estimate.num_answers == 4


def test_single_part_and_small_parts_are_left_out():
    assert compare_parts([("a", "x", 1.0), ("b", "x", 0.0)]) == []
    assert compare_parts([("a", "x", 1.0), ("b", "x", 0.0), ("c", "y", 1.0)]) == []


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


@pytest.mark.parametrize("different", [0, 3])
def test_false_discoveries_stay_below_5_percent(different):
    assert false_discoveries(parts=12, different=different, repetitions=2000) < 0.06


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
