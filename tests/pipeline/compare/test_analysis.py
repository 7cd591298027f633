"""Marks, differences and verdict on made-up points whose answer is known."""

import numpy as np
import pytest

from rlhf.pipeline.compare.analysis import (
    compare,
    difference,
    estimated,
    mark_over_optimized,
    mark_pareto,
    share,
    wins_at,
)
from rlhf.pipeline.compare.verdict import sentences
from tests.pipeline.compare.points import make_point

PPO = (
    make_point("ppo", 1.0, 0.60, 1.0, reward=0.5),
    make_point("ppo", 0.3, 0.70, 4.0, reward=1.0),
    make_point("ppo", 0.05, 0.62, 9.0, reward=2.0),
)


def test_pareto_front_by_means():
    """0.62 at 9 nats is below 0.70 at 4; 0.45 at 0.5 is below the SFT model's 0.5 at 0."""
    points = [*PPO, make_point("dpo", 0.1, 0.45, 0.5, recipe="dpo")]
    marked = mark_pareto([estimated(point) for point in points])
    assert [m.pareto for m in marked] == [True, True, False, False]


def test_fall_of_the_judge_under_a_rising_reward_is_over_optimised():
    marked = mark_over_optimized([estimated(point) for point in PPO])
    assert [m.over_optimized for m in marked] == [False, False, True]
    assert marked[2].peak.value == 0.3


def test_fall_with_a_falling_reward_is_only_beyond_the_peak():
    points = [PPO[1], make_point("ppo", 0.05, 0.62, 9.0, reward=0.1)]
    marked = mark_over_optimized([estimated(point) for point in points])
    assert (marked[1].peak.value, marked[1].over_optimized) == (0.3, False)


def test_dpo_needs_no_reward_to_be_over_optimised():
    points = [
        make_point("dpo", 0.3, 0.7, 2.0, recipe="dpo"),
        make_point("dpo", 0.03, 0.5, 20.0, recipe="dpo", reward=-1.0),
    ]
    assert mark_over_optimized([estimated(point) for point in points])[1].over_optimized


def test_fall_within_the_noise_of_the_seeds_is_not_marked():
    """Win rates 0.70 and 0.66 with seeds that differ by 0.1 to either side."""
    weak, strong = (
        make_point("ppo", 0.3, 0.70, 4.0, spread=0.1),
        make_point("ppo", 0.1, 0.66, 6.0, reward=1.0, spread=-0.1),
    )
    assert mark_over_optimized([estimated(weak), estimated(strong)])[1].peak is None


def test_points_of_other_methods_are_no_peak():
    points = [PPO[2], make_point("dpo", 0.1, 0.9, 1.0, recipe="dpo")]
    assert [m.peak for m in mark_over_optimized([estimated(p) for p in points])] == [None, None]


def test_mixture_between_strengths():
    """At 2.5 nats, half between 1 (0.60) and 4 (0.70); at 0.5, half between SFT (0.5) and 0.60."""
    points = [estimated(point) for point in PPO]
    assert wins_at(points, 2.5).mean() == pytest.approx(0.65)
    assert wins_at(points, 0.5).mean() == pytest.approx(0.55)
    assert wins_at(points, 4.0).mean() == pytest.approx(0.70)
    assert wins_at(points, 0.0).mean() == pytest.approx(0.5)


def test_difference_pairs_one_row_with_every_seed():
    seeds, single = np.array([[0.6, 0.8], [0.8, 1.0]]), np.array([[0.5, 0.7]])
    estimate = difference(seeds, single)
    assert estimate.value == pytest.approx(0.2)
    assert estimate.num_answers == 4


def test_share_stays_within_bounds_and_never_without_a_width():
    high = share(np.array([[1.0, 1.0, 1.0, 0.9]]))
    assert high.high == 1.0
    certain = share(np.ones((2, 50)))
    assert certain.value == 1.0
    assert certain.low < 0.97


def test_winner_against_a_worse_method_and_an_equal_one():
    """0.70, 0.69 with seeds that differ by 0.05, and 0.60: only the second may be as good."""
    points = [
        PPO[1],
        make_point("rloo", 0.3, 0.69, 4.0, spread=0.05, seconds=30.0),
        make_point("dpo", 0.1, 0.60, 2.0, recipe="dpo"),
    ]
    comparison = compare(points)
    assert comparison.winner.point is points[0]
    assert [m.point.method.name for m in comparison.best] == ["ppo", "rloo", "dpo"]
    assert [d.distinguishable for d in comparison.differences] == [False, True]
    assert comparison.differences[1].estimate.value == pytest.approx(0.10)
    verdict = sentences(comparison, judge="gold.py:score", num_seeds=3)
    assert verdict[0].startswith(
        "Take ppo (kl_coef 0.3): its win rate against the SFT model is 0.70"
    )
    assert "better than dpo (beta 0.1) by 0.10" in verdict[1]
    assert "not distinguishable from rloo (kl_coef 0.3): difference 0.01" in verdict[2]
    assert "cheapest of these is rloo (kl_coef 0.3): it took 30 s per run, ppo" in verdict[3]
    assert not any("one seed" in sentence for sentence in verdict)


def test_equal_kl_uses_the_smaller_kl_of_the_best_points():
    """ppo is best at 9 nats (0.8), dpo at 4 (0.7). ppo at 4: 0.5 + 0.3 · 4/9 = 0.633."""
    points = [
        make_point("ppo", 0.1, 0.8, 9.0),
        make_point("dpo", 0.1, 0.7, 4.0, recipe="dpo"),
    ]
    comparison = compare(points)
    equal = comparison.at_equal_kl
    assert equal.kl == 4.0
    assert equal.win_rate.value == pytest.approx(0.5 + 0.3 * 4 / 9)
    assert equal.difference.estimate.value == pytest.approx(0.6333 - 0.7, abs=1e-4)
    verdict = sentences(comparison, judge="gold", num_seeds=3)
    assert any("At an equal KL of 4.00 nats" in s and "dpo is better" in s for s in verdict)


def test_no_method_better_than_the_sft_model_keeps_it():
    """0.52 with seeds that differ by 0.05: the interval includes 0.5."""
    comparison = compare([make_point("ppo", 0.1, 0.52, 1.0, spread=0.05)])
    [first, *_] = sentences(comparison, judge="gold", num_seeds=3)
    assert first.startswith("Keep the SFT model")
    assert comparison.at_equal_kl is None


def test_verdict_names_over_optimisation_one_seed_and_bounds():
    points = [*PPO, make_point("best_of_n", 8, 0.70, 1.2, recipe="best_of_n")]
    verdict = "\n".join(sentences(compare(points), judge="gold", num_seeds=1))
    assert "Over-optimised: ppo (kl_coef 0.05)" in verdict
    assert "the reward rose from 1.00 to 2.00" in verdict
    assert "With one seed" in verdict
    assert "best of N is an upper bound" in verdict


def test_closest_to_sft_of_equally_good_methods_is_named():
    """0.70 at 9 nats and 0.69 at 1: not distinguishable, but the second is much closer."""
    points = [
        make_point("ppo", 0.1, 0.70, 9.0),
        make_point("rloo", 0.3, 0.69, 1.0, spread=0.05),
    ]
    comparison = compare(points)
    assert not comparison.differences[0].distinguishable
    verdict = sentences(comparison, judge="gold", num_seeds=3)
    assert (
        "The closest of these to the SFT model is rloo (kl_coef 0.3), 1.00 nats from it; "
        "ppo (kl_coef 0.1) is 9.00 nats from it." in verdict
    )


def test_cheapest_may_be_best_of_n():
    points = [PPO[1], make_point("best_of_n", 8, 0.70, 1.2, recipe="best_of_n")]
    verdict = "\n".join(sentences(compare(points), judge="gold", num_seeds=3))
    assert (
        "trains nothing, but samples 8 responses for each answer" in verdict
        or "Take best" in verdict
    )
