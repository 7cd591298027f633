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


@pytest.mark.parametrize(("votes", "nats"), [(2, 0.3197), (100, 0.0050)])
def test_few_votes_are_noise_even_to_the_right_model(votes, nats):
    """70% prefer the first response. Of two votes none, one or both do with 0.09, 0.42 and 0.49:
    0.09 · 1.2040 + 0.42 · 0.0872 + 0.49 · 0.3567 = 0.3197; of many it is 1/(2 · votes)."""
    shares = [count / votes for count in range(votes + 1)]
    chances = [math.comb(votes, k) * 0.7**k * 0.3 ** (votes - k) for k in range(votes + 1)]
    divergences = soft_divergence([0.7] * (votes + 1), shares)
    mean = sum(p * kl for p, kl in zip(chances, divergences, strict=True))
    assert mean == pytest.approx(nats, abs=2e-4)


def test_divergence_is_0_where_the_model_predicts_the_votes():
    """At a split pair a certain model loses log(0.5/0.9)/2 + log(0.5/0.1)/2 nats and an undecided
    one nothing; at a unanimous pair it loses -log 0.9."""
    certain, undecided, unanimous = soft_divergence([0.9, 0.5, 0.9], [0.5, 0.5, 1.0])
    assert certain == pytest.approx((math.log(0.5 / 0.9) + math.log(0.5 / 0.1)) / 2)
    assert undecided == pytest.approx(0.0)
    assert unanimous == pytest.approx(-math.log(0.9))
