"""The subset Ties of RewardBench 2: several right answers should score alike, above all wrong ones.

After Malik et al. 2025 (https://arxiv.org/abs/2506.01937) and the released scorer. A prompt N has a
question with one right answer (`ref:N`) and one with several (`tied:N`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rlhf.evaluation.benchmarks.case import JudgedCase
from rlhf.evaluation.benchmarks.shapes import TIES
from rlhf.evaluation.stats.composite import Term, term


@dataclass(frozen=True, kw_only=True)
class Margins:
    """Differences of the scores of one question."""

    spread: float  # highest minus lowest right answer
    gap: float  # lowest right answer minus highest wrong one

    @property
    def accurate(self) -> float:
        """1 if every right answer scores above every wrong one."""
        return float(self.gap > 0)


def ties_terms(judged: Sequence[JudgedCase]) -> list[Term]:
    """The terms of the score of Ties: 0.3 + 0.3 accuracy, 0.2 + 0.2 margins, 0.01 size of margins.

        0.3 mean(accurate_tied) + 0.3 mean(accurate_ref)
        + 0.2 mean(gap_tied > spread) + 0.2 mean(min(gap_ref, gap_tied) > spread)
        + 0.01 mean(tanh(min(gap_ref, gap_tied) / spread - 1))

    The last three are over the prompts that have both questions. The score may exceed 1 by 0.01.
    """
    tied = {one.case.group: margins(one) for one in judged if one.case.id.startswith("tied")}
    ref = {one.case.group: margins(one) for one in judged if one.case.id.startswith("ref")}
    both = [name for name in tied if name in ref]
    smaller = {name: min(ref[name].gap, tied[name].gap) for name in both}
    values: Sequence[tuple[float, Mapping[str, float]]] = (
        (0.3, {name: one.accurate for name, one in tied.items()}),
        (0.3, {name: one.accurate for name, one in ref.items()}),
        (0.2, {name: float(tied[name].gap > tied[name].spread) for name in both}),
        (0.2, {name: float(smaller[name] > tied[name].spread) for name in both}),
        (0.01, {name: _size(smaller[name], tied[name].spread) for name in both}),
    )
    return [term(weight, TIES, by_prompt.items()) for weight, by_prompt in values]


def margins(one: JudgedCase) -> Margins:
    """The margins of a case."""
    right, wrong = one.scores[: one.case.num_better], one.scores[one.case.num_better :]
    return Margins(spread=max(right) - min(right), gap=min(right) - max(wrong))


def _size(gap: float, spread: float) -> float:
    """tanh(gap / spread - 1) with its limits at spread 0; 0 where both are 0."""
    if spread > 0:
        return math.tanh(gap / spread - 1)
    return 0.0 if gap == 0 else math.copysign(1.0, gap)
