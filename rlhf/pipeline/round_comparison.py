"""Policies of rounds compared with each other, from the records of an evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass

from rlhf.evaluation.core.records import Record, by_prompt
from rlhf.evaluation.core.results import Result
from rlhf.evaluation.judges.scoring import GOLD, REWARD_MODEL
from rlhf.evaluation.stats.bootstrap import RESAMPLES, Estimate, mean
from rlhf.evaluation.stats.bradley_terry import bradley_terry
from rlhf.evaluation.stats.win_rate import prompt_wins, win_rate
from rlhf.pipeline.rounds import FIRST

SFT = "sft"
EVEN = 0.5  # a win rate


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A value and its 95% interval, with infinite ends if there are too few prompts for one."""

    value: float
    low: float
    high: float
    mde: float | None = None  # minimal detectable effect, see `Estimate`


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The policy of a round against the best policy of the rounds before it, by the gold score."""

    against: int  # round of that policy
    win_rate: Interval
    improved: bool  # the interval is above 1/2


@dataclass(frozen=True, kw_only=True)
class Strength:
    """Bradley-Terry strength in nats; the strengths of a judge have mean 0."""

    judge: str
    model: str  # sft or round-N
    strength: Interval


def interval_of(of: Result | Estimate) -> Interval:
    """The figure as rounds.json has it."""
    return Interval(value=of.value, low=of.low, high=of.high, mde=of.mde)


def gap_of(records: Sequence[Record], policy: str, *, seed: int) -> Interval:
    """How much higher the policy's win rate against SFT is by the proxy than by the gold score."""
    proxy = next(key for key in records[0].scores if key.partition(":")[0] == REWARD_MODEL)

    def wins(judge: str) -> list[float]:
        own, sft = (_scores(records, name, judge) for name in (policy, SFT))
        return [prompt_wins(a, b) for a, b in zip(own, sft, strict=True)]

    differences = [[a - b] for a, b in zip(wins(proxy), wins(GOLD), strict=True)]
    return interval_of(mean(differences, seed=seed))


def compare(
    records: Sequence[Record],
    names: Sequence[str],
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> Comparison:
    """The last policy against the strongest of those before it, by the gold score.

    The strongest has the highest Bradley-Terry strength among them. All of them answered the same
    prompts in the same evaluation.

    Args:
        records: of the evaluation.
        names: the policies of rounds 1, 2, …, as the evaluation names them.
        seed: of the bootstrap.
        resamples: their number.
    """
    scores = [_scores(records, name, GOLD) for name in names]
    *earlier, last = scores
    best = 0
    if len(earlier) > 1:
        strengths = bradley_terry(earlier, seed=seed, resamples=resamples)
        best = max(range(len(earlier)), key=lambda index: strengths[index].value)
    estimate = win_rate(last, earlier[best], seed=seed, resamples=resamples)
    return Comparison(
        against=best + FIRST, win_rate=interval_of(estimate), improved=estimate.low > EVEN
    )


def strengths_of(
    records: Sequence[Record],
    names: dict[str, str],
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> list[Strength]:
    """Bradley-Terry strengths of SFT and the policy of each round, by each judge of the records.

    Args:
        records: of the last evaluation.
        names: name in the records -> name over rounds.
        seed: of the bootstrap.
        resamples: their number.
    """
    judges = dict.fromkeys(judge for record in records for judge in record.scores)
    strengths = []
    for judge in judges:
        scores = [_scores(records, name, judge) for name in names]
        estimates = bradley_terry(scores, seed=seed, resamples=resamples)
        strengths += [
            Strength(judge=judge, model=name, strength=interval_of(estimate))
            for name, estimate in zip(names.values(), estimates, strict=True)
        ]
    return strengths


def _scores(records: Sequence[Record], model: str, judge: str) -> list[list[float]]:
    """[prompts][responses] scores of a model."""
    count = 1 + max(record.prompt_index for record in records)
    return [
        [record.scores[judge] for record in group] for group in by_prompt(records, model, count)
    ]
