"""Annotators whose labels need a look, and why."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rlhf.labels.annotator_stats import AnnotatorStats
from rlhf.labels.shares import Share, pooled

MIN_CASES = 20  # with fewer cases there is no verdict on an annotator
MAX_SMALL_BIAS = 0.025  # one pair in forty: many labels make it significant, but it hardly matters
MAX_DEVIATIONS = 3.29  # chance exceeds it once in 1000 cases (two-sided)


@dataclass(frozen=True, kw_only=True)
class Concern:
    """An annotator to look at, and why."""

    annotator: str
    reason: str


def concerns_of(stats: AnnotatorStats, everyone: Sequence[AnnotatorStats]) -> list[Concern]:
    """Metrics that are further from their expected value than chance and MAX_SMALL_BIAS allow.

    The longer response may well be the better one, so the share of longer winners is compared
    with that of the other annotators, by the deviation of both shares.
    """
    reasons = []
    others = pooled([other.longer for other in everyone if other is not stats])
    if min(stats.longer.n, others.n) >= MIN_CASES:
        both = pooled([stats.longer, others])
        spread = math.sqrt(both.value * (1 - both.value) * (1 / stats.longer.n + 1 / others.n))
        difference = abs(stats.longer.value - others.value)
        if difference > max(MAX_DEVIATIONS * spread, MAX_SMALL_BIAS):
            reasons.append(
                f"{stats.longer} of pairs won by the longer response; other annotators: {others}"
            )
    for share, expected, description in (
        (stats.first_shown, 0.5, "of pairs won by the response shown first; 0.5 is no bias"),
        (stats.gold_items, 0.9, "of gold pairs correct; 0.9 is expected"),
        (stats.self_agreement, 0.8, "of repeated pairs decided the same way; 0.8 is expected"),
    ):
        deviations = _deviations(share, expected)
        is_bad = abs(deviations) > MAX_DEVIATIONS and (deviations < 0 or expected == 0.5)
        if is_bad and abs(share.value - expected) > MAX_SMALL_BIAS:
            reasons.append(f"{share} {description}")
    if stats.agreement.n >= MIN_CASES and _deviations(stats.agreement, 0.6) < -MAX_DEVIATIONS:
        reasons.append(f"{stats.agreement} agreement with other annotators")
    if stats.too_fast.n >= MIN_CASES and stats.too_fast.value > 0.2:
        reasons.append(f"{stats.too_fast} of labels faster than one can read")
    if stats.ties.n >= MIN_CASES and stats.ties.value > 0.8:
        reasons.append(f"{stats.ties} of pairs tied")
    return [Concern(annotator=stats.name, reason=reason) for reason in reasons]


def _deviations(share: Share, expected: float) -> float:
    """Distance from the expected value in standard deviations of a share of n cases."""
    if share.n < MIN_CASES:
        return 0.0
    return (share.value - expected) / math.sqrt(expected * (1 - expected) / share.n)
