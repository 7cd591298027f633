"""Votes as distributions."""

import math

import pytest

from rlhf.evaluation.stats.soft_labels import kind_of_votes, soft_divergence


@pytest.mark.parametrize(
    ("share", "kind"),
    [
        (1.0, "unanimous"),
        (0.0, "unanimous"),
        (2 / 3, "majority"),
        (0.25, "majority"),
        (0.6, "split"),
        (0.5, "split"),
    ],
)
def test_votes_are_unanimous_a_majority_or_split(share, kind):
    assert kind_of_votes(share) == kind


def test_divergence_is_0_where_the_model_predicts_the_votes():
    """At a split pair a certain model loses log(0.5/0.9)/2 + log(0.5/0.1)/2 nats and an undecided
    one nothing; at a unanimous pair it loses -log 0.9."""
    certain, undecided, unanimous = soft_divergence([0.9, 0.5, 0.9], [0.5, 0.5, 1.0])
    assert certain == pytest.approx((math.log(0.5 / 0.9) + math.log(0.5 / 0.1)) / 2)
    assert undecided == pytest.approx(0.0)
    assert unanimous == pytest.approx(-math.log(0.9))
