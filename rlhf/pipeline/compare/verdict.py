"""The result in sentences: which method to take, and how sure that is."""

from collections.abc import Sequence
from statistics import mean

from rlhf.evaluation.core.results import number
from rlhf.evaluation.stats.bootstrap import Estimate
from rlhf.pipeline.compare.analysis import AtEqualKL, Comparison, Difference, Marked


def sentences(comparison: Comparison, *, judge: str, num_seeds: int) -> list[str]:
    """The verdict first, then what limits it.

    Args:
        comparison: the marked points.
        judge: its name.
        num_seeds: seeds of each strength.
    """
    return [
        *_winner(comparison, judge),
        *_differences(comparison),
        *_at_equal_kl(comparison),
        *_over_optimized(comparison.points),
        *_limits(comparison, num_seeds),
    ]


def mean_seconds(marked: Marked) -> float:
    """Mean seconds of the runs of a point; 0 for best of N."""
    return mean([cost.seconds for cost in marked.point.costs] or [0.0])


def interval(estimate: Estimate) -> str:
    """`0.71 [0.68, 0.74]`."""
    value, low, high = (
        number(each).replace("-0.00", "0.00")
        for each in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} [{low}, {high}]"


def _winner(comparison: Comparison, judge: str) -> list[str]:
    winner = comparison.winner
    won = f"{interval(winner.win_rate)} by {judge}, {_nats(winner)} from the SFT model"
    if not comparison.beats_sft:
        return [
            "Keep the SFT model: no method is certainly better. The highest win rate against it is "
            f"that of {winner.point.name}, {won}."
        ]
    return [f"Take {winner.point.name}: its win rate against the SFT model is {won}."]


def _differences(comparison: Comparison) -> list[str]:
    """How sure it is that the winner is best, and the cheapest and closest of those that may be."""
    winner = comparison.winner
    better = [d for d in comparison.differences if d.distinguishable]
    alike = [d for d in comparison.differences if not d.distinguishable]
    lines = []
    if better:
        lines.append(f"{winner.point.name} is better than {_listed(better, ' by')}.")
    if alike:
        lines.append(
            f"{winner.point.name} is not distinguishable from {_listed(alike, ': difference')}."
        )
        cheapest = min([winner, *(d.other for d in alike)], key=mean_seconds)
        if cheapest is not winner:
            answers = cheapest.point.per_answer
            price = (
                f"trains nothing, but samples {answers} responses for each answer"
                if answers > 1
                else f"took {mean_seconds(cheapest):,.0f} s per run, {winner.point.name} "
                f"{mean_seconds(winner):,.0f} s"
            )
            lines.append(f"The cheapest of these is {cheapest.point.name}: it {price}.")
        nearest = min([winner, *(d.other for d in alike)], key=lambda m: m.kl.value)
        if nearest is not winner:
            lines.append(
                f"The closest of these to the SFT model is {nearest.point.name}, {_nats(nearest)} "
                f"from it; {winner.point.name} is {_nats(winner)} from it."
            )
    return lines


def _nats(marked: Marked) -> str:
    """`1.84 nats`, of best of N `at most 1.84 nats`."""
    return f"{'at most ' if marked.point.kl_is_bound else ''}{number(marked.kl.value)} nats"


def _listed(differences: Sequence[Difference], word: str) -> str:
    parts = [f"{d.other.point.name}{word} {interval(d.estimate)}" for d in differences]
    return "; ".join(parts)


def _at_equal_kl(comparison: Comparison) -> list[str]:
    equal = comparison.at_equal_kl
    if equal is None:
        return []
    names = comparison.winner.point.method.name, equal.difference.other.point.method.name
    return [_equal_sentence(equal, *names)]


def _equal_sentence(equal: AtEqualKL, winner: str, other: str) -> str:
    difference = equal.difference
    verdict = "not distinguishable"
    if difference.distinguishable:
        ahead = winner if difference.estimate.value > 0 else other
        verdict = f"{ahead} is better"
    return (
        f"At an equal KL of {number(equal.kl)} nats, {winner} wins {number(equal.win_rate.value)} "
        f"and {other} {number(equal.other_win_rate.value)}: a difference of "
        f"{interval(difference.estimate)}, {verdict}."
    )


def _over_optimized(points: Sequence[Marked]) -> list[str]:
    lines = []
    for m in points:
        if m.peak is None:
            continue
        fall = (
            f"its win rate is {number(m.win_rate.value)}, and {number(float(m.peak.wins.mean()))} "
            f"at {m.peak.swept_text}"
        )
        rewards = f"{number(float(m.peak.reward.mean()))} to {number(m.reward.value)}"
        if m.over_optimized and m.point.method.uses_reward:
            rise = f"From {m.peak.swept_text} the reward rose from {rewards}"
            lines.append(f"Over-optimised: {m.point.name}. {rise}, but {fall}.")
        elif m.over_optimized:
            lines.append(f"Over-optimised: {m.point.name}. It is further from the SFT model, but "
                        f"{fall}.")  # fmt: skip
        else:
            lines.append(f"Beyond its peak: {m.point.name}; {fall}.")
    return lines


def _limits(comparison: Comparison, num_seeds: int) -> list[str]:
    lines = []
    if num_seeds == 1:
        lines.append(
            "With one seed, intervals leave out the spread between seeds: they are about these "
            "policies, not about the methods."
        )
    if any(m.point.method.uses_reward for m in comparison.points):
        lines.append(
            "All runs share one reward model and one file of labels; intervals do not cover how "
            "another one would have turned out."
        )
    if any(m.point.kl_is_bound for m in comparison.points):
        lines.append("The KL of best of N is an upper bound, log N - (N - 1)/N nats.")
    return lines
