"""Records become tables: win shares, ties of equal texts, best of N."""

import numpy as np
import pytest

from rlhf.evaluation.core.records import Record
from rlhf.pipeline.compare.methods import Method
from rlhf.pipeline.compare.points import best_of_point, known_scores, numbers_of

BEST = Method(
    name="best_of_n", recipe="best_of_n", config=None, keys={}, swept="num_responses", values=[2]
)


def record(text, judge, reward=0.0, kl=None, tokens=3):
    return Record(
        prompt_index=0,
        sample=0,
        model="m",
        text=text,
        num_tokens=tokens,
        ended_with_eos=True,
        kl=kl,
        scores={"judge": judge, "reward": reward},
    )


def test_cell_is_the_share_of_comparisons_won():
    """3 beats 1 and 2, ties none; 2 beats 1 and ties 2: (2 + 1½)/4."""
    baseline = [[record("a", 1.0), record("b", 2.0)]]
    policy = [[record("c", 3.0, 1.0, kl=0.5), record("d", 2.0, 3.0, kl=1.5, tokens=5)]]
    numbers = numbers_of(policy, known_scores(baseline))
    assert numbers.wins.tolist() == [3.5 / 4]
    assert numbers.kl.tolist() == [1.0]
    assert numbers.reward.tolist() == [2.0]
    assert numbers.score.tolist() == [2.5]
    assert numbers.length.tolist() == [4.0]


def test_equal_texts_tie_although_their_scores_differ_by_rounding():
    baseline = [[record("same", 1.0)]]
    numbers = numbers_of([[record("same", 1.0000001)]], known_scores(baseline))
    assert numbers.wins.tolist() == [0.5]


def test_best_of_two_is_the_mean_over_all_draws():
    """Rewards 1, 2, 3; the best of two is the last in 2 of 3 draws, the middle one in 1 of 3.

    The judge's scores are 5, 1, 4 against 3: wins 1, 0, 1, so 2/3 · 1 + 1/3 · 0 = 2/3; the score is
    2/3 · 4 + 1/3 · 1 = 3.
    """
    many = [[record("a", 5.0, 1.0), record("b", 1.0, 2.0), record("c", 4.0, 3.0)]] * 2
    point = best_of_point(BEST, 2, many, [[record("x", 3.0)]] * 2)
    assert point.wins == pytest.approx(np.full((1, 2), 2 / 3))
    assert point.score == pytest.approx(np.full((1, 2), 3.0))
    assert point.kl == pytest.approx(np.full((1, 2), np.log(2) - 0.5))
    assert (point.kl_is_bound, point.per_answer, point.costs) == (True, 2, ())
