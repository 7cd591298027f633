"""One item of a benchmark, and what a reward or a judge made of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rlhf.evaluation.judges.pairwise import FIRST, SECOND
from rlhf.types import Prompt

Pair = tuple[int, int]
"""Positions of a better and a worse response."""

Verdicts = tuple[str | None, str | None]
"""A judge's verdicts on a pair: with the better response shown first, and shown second."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkCase:
    """A prompt with responses, the better ones first."""

    id: str
    prompt: Prompt
    responses: Sequence[str]
    num_better: int
    subset: str
    group: str  # cases of one group share a prompt, so they are not independent
    pairs: Sequence[Pair]  # that the benchmark compares
    tags: Sequence[str] = ()  # further subsets that the case belongs to
    better_is_second: bool = False  # in the file; some rules resolve ties by the order


@dataclass(frozen=True, kw_only=True)
class JudgedCase:
    """A case with the scores of a reward, or with the verdicts of a judge that compares pairs.

    scores: one per response; empty if a judge compared pairs.
    verdicts: by pair; empty if a reward scored the responses.
    """

    case: BenchmarkCase
    scores: Sequence[float] = ()
    verdicts: Mapping[Pair, Verdicts] = field(default_factory=dict)

    def right(self, pair: Pair, *, equal: float = 0.5, undecided: float = 0.5) -> float:
        """1 if the better response of the pair was preferred, 0 if the worse one was.

        A judge's two verdicts are averaged.

        Args:
            pair: positions of the better and the worse response.
            equal: the value of equal scores.
            undecided: the value of a verdict that is a tie or missing.
        """
        if not self.verdicts:
            better, worse = self.scores[pair[0]], self.scores[pair[1]]
            return equal if better == worse else float(better > worse)
        verdicts = zip(self.verdicts[pair], ((FIRST, SECOND), (SECOND, FIRST)), strict=True)
        return sum(_value(verdict, *sides, undecided) for verdict, sides in verdicts) / 2


def judged_by_scores(case: BenchmarkCase, scores: Sequence[float]) -> JudgedCase:
    """The case with its scores; a case with a response that has no score counts as wrong.

    scores: one per response; NaN where there is none. Then every worse response gets 1 and every
    better one 0: a judge must not gain from cases that it leaves out.
    """
    if all(map(math.isfinite, scores)):
        return JudgedCase(case=case, scores=list(scores))
    wrong = [float(place >= case.num_better) for place in range(len(case.responses))]
    return JudgedCase(case=case, scores=wrong)


def _value(verdict: str | None, right: str, wrong: str, undecided: float) -> float:
    if verdict == right:
        return 1.0
    return 0.0 if verdict == wrong else undecided
