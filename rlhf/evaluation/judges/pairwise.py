"""Judges that compare two responses: they see both orders of a pair; disagreement is a tie."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlhf.evaluation.core.records import Record, by_prompt
from rlhf.evaluation.stats.bootstrap import RESAMPLES, Estimate, rate
from rlhf.types import Prompt, PromptRow

FIRST, SECOND, TIE = "first", "second", "tie"


@dataclass(frozen=True, kw_only=True)
class AnonymousPair:
    """Two responses as a judge sees them, without the names of the models."""

    prompt: Prompt
    first: str
    second: str


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A response of a model and one of the baseline to the same prompt."""

    prompt_index: int
    model: str
    baseline: str
    ours: str
    theirs: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A judge's verdict on both orders of a pair: first, second, tie, or None if unparsable."""

    pair: Pair
    ours_first: str | None
    theirs_first: str | None

    @property
    def win(self) -> float:
        """1 if the model won in both orders, 0 if it lost in both, else ½."""
        won = (self.ours_first, self.theirs_first) == (FIRST, SECOND)
        lost = (self.ours_first, self.theirs_first) == (SECOND, FIRST)
        return 1.0 if won else 0.0 if lost else 0.5

    @property
    def unparsable(self) -> bool:
        """Whether a reply had no verdict; the pair is a tie."""
        return None in (self.ours_first, self.theirs_first)

    @property
    def inconsistent(self) -> bool:
        """Whether both orders have a verdict and the verdicts contradict each other."""
        consistent = {(FIRST, SECOND), (SECOND, FIRST), (TIE, TIE)}
        return not self.unparsable and (self.ours_first, self.theirs_first) not in consistent


CompareFunction = Callable[[Sequence[AnonymousPair]], Sequence[str | None]]
"""The verdict on each pair in its order: first, second, tie or None."""


@dataclass(frozen=True, kw_only=True)
class PairOutcome:
    """A pair and its outcome: 1, ½ for a tie, 0; a mean if several annotators judged it."""

    pair: Pair
    win: float


def make_pairs(
    records: Sequence[Record], models: Sequence[str], baseline: str, *, per_prompt: int, seed: int
) -> list[Pair]:
    """`per_prompt` pairs of each model with the baseline at each prompt, drawn without repeats.

    Args:
        records: responses of the models and the baseline.
        models: names of the models; the baseline itself is skipped.
        baseline: name of the model that they are compared with.
        per_prompt: pairs per model and prompt; fewer if there are not enough responses.
        seed: for the draw.
    """
    count = 1 + max((r.prompt_index for r in records), default=-1)
    groups = {name: by_prompt(records, name, count) for name in {*models, baseline}}
    pairs = []
    for model in models:
        for index in range(count) if model != baseline else ():
            responses, others = groups[model][index], groups[baseline][index]
            candidates = [(a, b) for a in responses for b in others]
            rng = random.Random(f"{seed} {model} {index}")
            for a, b in rng.sample(candidates, min(per_prompt, len(candidates))):
                pairs.append(
                    Pair(
                        prompt_index=index,
                        model=model,
                        baseline=baseline,
                        ours=a.text,
                        theirs=b.text,
                    )
                )
    return pairs


def compare_pairs(
    pairs: Sequence[Pair], rows: Sequence[PromptRow], judge: CompareFunction
) -> list[Verdict]:
    """The judge's verdicts. Pairs of equal texts are ties and are not sent to the judge."""
    anonymous = [
        AnonymousPair(prompt=rows[pair.prompt_index].prompt, first=first, second=second)
        for pair in pairs
        if pair.ours != pair.theirs
        for first, second in ((pair.ours, pair.theirs), (pair.theirs, pair.ours))
    ]
    replies = iter(judge(anonymous))
    verdicts = []
    for pair in pairs:
        equal = pair.ours == pair.theirs
        ours_first, theirs_first = (TIE, TIE) if equal else (next(replies), next(replies))
        verdicts.append(Verdict(pair=pair, ours_first=ours_first, theirs_first=theirs_first))
    return verdicts


def judge_health(
    verdicts: Sequence[Verdict], *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Estimate]:
    """Rates that tell how reliable the judge is; rates without a case are left out.

    - judge_unparsable: pairs with a reply that has no verdict.
    - judge_inconsistency: of the pairs with both verdicts, those that the order decides.
    - judge_first: decisions for the first response, 0.5 without a position bias.
    """
    judged = [v for v in verdicts if v.pair.ours != v.pair.theirs]
    rates = {
        "judge_unparsable": _by_prompt(judged, lambda v: [float(v.unparsable)]),
        "judge_inconsistency": _by_prompt(
            judged, lambda v: [] if v.unparsable else [float(v.inconsistent)]
        ),
        "judge_first": _by_prompt(
            judged,
            lambda v: [
                float(verdict == FIRST)
                for verdict in (v.ours_first, v.theirs_first)
                if verdict in (FIRST, SECOND)
            ],
        ),
    }
    return {
        name: rate(values, seed=seed, resamples=resamples)
        for name, values in rates.items()
        if any(values)
    }


def _by_prompt(
    verdicts: Sequence[Verdict], values: Callable[[Verdict], list[float]]
) -> list[list[float]]:
    groups: dict[int, list[float]] = {}
    for verdict in verdicts:
        groups.setdefault(verdict.pair.prompt_index, []).extend(values(verdict))
    return list(groups.values())
