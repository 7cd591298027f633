"""Which points are good, which are over-optimised, and how the methods differ."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rlhf.evaluation.stats.bootstrap import Estimate, rate
from rlhf.evaluation.stats.crossed import Table, crossed_mean
from rlhf.pipeline.compare.points import Point

ERROR = 0.05  # of a family of intervals
EVEN = 0.5  # win rate of the SFT model against itself


@dataclass(frozen=True, kw_only=True)
class Marked:
    """A point with its estimates and marks."""

    point: Point
    win_rate: Estimate
    kl: Estimate
    reward: Estimate
    score: Estimate
    length: float
    pareto: bool = False  # no point has a higher win rate at the same KL or less
    peak: Point | None = None  # a weaker strength of the method with a certainly higher win rate
    over_optimized: bool = False


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How much better the winner is than another method, paired by prompt and seed."""

    other: Marked
    estimate: Estimate  # difference of the win rates; its interval is widened, see `compare`

    @property
    def distinguishable(self) -> bool:
        """Whether the interval excludes 0."""
        return self.estimate.low > 0 or self.estimate.high < 0


@dataclass(frozen=True, kw_only=True)
class AtEqualKL:
    """The two best methods at the largest KL that both reach before their best strengths."""

    kl: float  # nats
    win_rate: Estimate  # of the winner
    other_win_rate: Estimate
    difference: Difference


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All points, and the winner against the other methods."""

    points: Sequence[Marked]
    best: Sequence[Marked]  # of each method the point with the highest win rate; the winner first
    beats_sft: bool  # whether the winner is certainly better than the SFT model
    differences: Sequence[Difference]  # to the best points of the other methods, in their order
    at_equal_kl: AtEqualKL | None  # None with a single method

    @property
    def winner(self) -> Marked:
        """The point with the highest win rate."""
        return self.best[0]


def compare(points: Sequence[Point]) -> Comparison:
    """Mark all points and compare the best one with the other methods.

    The best of many noisy points is partly lucky. The intervals of the differences therefore hold
    together for all that the winner was chosen from, the points and the SFT model: each has the
    level 1 - 0.05 / (number of points) (Bonferroni's bound for multiple comparisons with the best,
    Hsu 1984).
    """
    marked = mark_over_optimized(mark_pareto([estimated(point) for point in points]))
    names = dict.fromkeys(point.method.name for point in points)
    best = [
        max((m for m in marked if m.point.method.name == name), key=lambda m: m.win_rate.value)
        for name in names
    ]
    best.sort(key=lambda m: -m.win_rate.value)
    winner, *others = best
    level = 1 - ERROR / len(points)
    differences = [
        Difference(other=other, estimate=difference(winner.point.wins, other.point.wins, level))
        for other in others
    ]
    return Comparison(
        points=marked,
        best=best,
        beats_sft=crossed_mean(winner.point.wins, level=level).low > EVEN,
        differences=differences,
        at_equal_kl=_at_equal_kl(marked, winner, others[0], level) if others else None,
    )


def estimated(point: Point) -> Marked:
    """The point with the means of its tables and their intervals."""
    return Marked(
        point=point,
        win_rate=share(point.wins),
        kl=crossed_mean(point.kl),
        reward=crossed_mean(point.reward),
        score=crossed_mean(point.score),
        length=float(point.length.mean()),
    )


def share(table: Table) -> Estimate:
    """`crossed_mean` of numbers from 0 to 1, within these bounds, and never without a width.

    Where all cells are 0 or all are 1, the interval is Wilson's for one coin flip per prompt.
    """
    estimate = crossed_mean(table)
    if estimate.value in (0.0, 1.0):
        return rate([[float(value)] for value in table.mean(0)])
    return replace(estimate, low=max(0.0, estimate.low), high=min(1.0, estimate.high))


def difference(table: Table, other: Table, level: float = 1 - ERROR) -> Estimate:
    """Mean of `table - other`, win rates, paired by prompt; between -1 and 1.

    One row (best of N) is paired with every seed.
    """
    first, second = np.broadcast_arrays(table, other)
    estimate = crossed_mean(first - second, level=level)
    return replace(estimate, low=max(-1.0, estimate.low), high=min(1.0, estimate.high))


def mark_pareto(points: Sequence[Marked]) -> list[Marked]:
    """Mark points that no other one dominates: by means, the SFT model (0 nats, 0.5) included."""
    places = [(0.0, EVEN), *((m.kl.value, m.win_rate.value) for m in points)]

    def is_dominated(kl: float, win: float) -> bool:
        return any(k <= kl and w >= win and (k, w) != (kl, win) for k, w in places)

    return [replace(m, pareto=not is_dominated(m.kl.value, m.win_rate.value)) for m in points]


def mark_over_optimized(points: Sequence[Marked]) -> list[Marked]:
    """Mark points beyond the peak of their method.

    A point has a peak if a strength of the same method with a smaller KL has a higher win rate,
    with an interval of the difference (paired by prompt and seed; Bonferroni over all pairs of the
    method's strengths) that excludes 0. It is over-optimised if, in addition, its reward is higher
    than at the peak: the reward rose while the judge fell. A method that does not optimize the
    reward (dpo, kto) moves further along its own objective with every nat; its points are
    over-optimised without that condition.
    """
    marked = []
    for m in points:
        own = [other for other in points if other.point.method.name == m.point.method.name]
        pairs = len(own) * (len(own) - 1) // 2
        peak = _peak(m, own, 1 - ERROR / max(1, pairs))
        over = peak is not None and (
            not m.point.method.uses_reward or m.reward.value > float(peak.reward.mean())
        )
        marked.append(replace(m, peak=peak, over_optimized=over))
    return marked


def wins_at(points: Sequence[Marked], kl: float) -> Table:
    """Wins [S, P] of a method at this KL, between its strengths and the SFT model.

    Between two strengths it is the mixture that answers a prompt with the stronger one with
    probability t. Its win rate is linear in t, and its KL at most linear (KL is convex): the
    method reaches this win rate at this KL or less.

    Args:
        points: strengths of one method, of which one has at least this KL.
        kl: nats per response, mean over seeds and prompts.
    """
    ordered = sorted(points, key=lambda m: m.kl.value)
    below = [(0.0, np.full_like(ordered[0].point.wins, EVEN))]
    below += [(m.kl.value, m.point.wins) for m in ordered if m.kl.value <= kl]
    low, table = below[-1]
    above = next((m for m in ordered if m.kl.value > kl), None)
    if above is None or low == kl:
        return table
    t = (kl - low) / (above.kl.value - low)
    return (1 - t) * table + t * above.point.wins


def _peak(m: Marked, own: Sequence[Marked], level: float) -> Point | None:
    """The best of the weaker strengths that are certainly better than this one."""
    better = [
        other
        for other in own
        if other.kl.value < m.kl.value and difference(other.point.wins, m.point.wins, level).low > 0
    ]
    return max(better, key=lambda other: other.win_rate.value).point if better else None


def _at_equal_kl(
    points: Sequence[Marked], winner: Marked, other: Marked, level: float
) -> AtEqualKL:
    """Both methods at the smaller KL of their best points."""
    kl = min(winner.kl.value, other.kl.value)
    wins, other_wins = (
        wins_at([m for m in points if m.point.method.name == best.point.method.name], kl)
        for best in (winner, other)
    )
    return AtEqualKL(
        kl=kl,
        win_rate=share(wins),
        other_win_rate=share(other_wins),
        difference=Difference(other=other, estimate=difference(wins, other_wins, level)),
    )
