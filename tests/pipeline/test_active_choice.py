"""Active sampling: which prompts are ranked, by literal scores."""

import math

import pytest

from rlhf.pipeline.active_choice import choose, stats_of, uncertainty_of
from rlhf.pipeline.best_responses import Scored

FRESH = [False] * 5
PRIORITIES = [0.1, 0.9, 0.5, 0.7, 0.3]


def scored(responses, scores):
    return Scored(prompt="p", responses=responses, columns={}, scores=scores)


def test_uncertainty_is_that_of_the_two_best_different_responses():
    """1 - tanh(d/2): the best lead by 2: 0.238406; the copy of the best does not count."""
    row = scored(["a", "b", "c", " a"], [3.0, 1.0, -5.0, 3.0])
    assert uncertainty_of(row) == pytest.approx(0.238406, abs=1e-6)
    assert uncertainty_of(scored(["a", "b"], [1.0, 1.0])) == 1.0


def test_prompt_without_two_different_responses_has_no_uncertainty():
    assert uncertainty_of(scored(["a", " a", ""], [1.0, 1.0, 2.0])) is None
    assert uncertainty_of(scored(["a", "b"], [1.0, math.nan])) is None


def test_most_uncertain_prompts_are_chosen():
    assert choose(PRIORITIES, FRESH, count=2, floor=0.0, seed=0) == [1, 3]
    assert choose([None, *PRIORITIES[1:]], FRESH, count=9, floor=0.5, seed=0) == [1, 2, 3, 4]


def test_floor_draws_the_others_at_random():
    """Half of two: prompt 1 is the most uncertain, the other is any of the rest by the seed."""
    draws = {tuple(choose(PRIORITIES, FRESH, count=2, floor=0.5, seed=s)) for s in range(50)}
    assert draws == {(0, 1), (1, 2), (1, 3), (1, 4)}
    everything = {i for s in range(50) for i in choose(PRIORITIES, FRESH, count=1, floor=1, seed=s)}
    assert everything == {0, 1, 2, 3, 4}


def test_choice_depends_on_the_seed_alone():
    draws = [choose(PRIORITIES, FRESH, count=2, floor=1.0, seed=3) for _ in range(2)]
    assert draws[0] == draws[1]


def test_new_prompts_come_before_those_that_were_ranked():
    """1 and 3 were ranked: the two best new ones, then the best ranked one to fill up."""
    before = [False, True, False, True, False]
    assert choose(PRIORITIES, before, count=2, floor=0.0, seed=0) == [2, 4]
    assert choose(PRIORITIES, before, count=4, floor=0.0, seed=0) == [0, 1, 2, 4]


def test_statistics_of_a_choice():
    """Mean of 0.1, 0.9, 0.5 and of the chosen 0.9 and 0.5; one prompt cannot be ranked."""
    stats = stats_of([0.1, 0.9, None, 0.5], [False, True, False, False], [1, 3])
    assert (stats.prompts, stats.chosen, stats.alike, stats.ranked_before) == (4, 2, 1, 1)
    assert stats.uncertainty == pytest.approx(0.5)
    assert stats.chosen_uncertainty == pytest.approx(0.7)
