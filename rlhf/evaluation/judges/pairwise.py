"""Judges that compare two answers: each pair is shown in both orders, and disagreement is a tie."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlhf.evaluation.core.records import Record, by_prompt
from rlhf.evaluation.stats.bootstrap import RESAMPLES, Estimate, rate
from rlhf.types import Prompt, PromptRow

FIRST, SECOND, TIE = "first", "second", "tie"


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Two answers as a judge sees them; who wrote them it is not told."""

    prompt: Prompt
    first: str
    second: str


@dataclass(frozen=True, kw_only=True)
class Pair:
    """An answer beside one of the baseline's to the same prompt."""

    prompt_index: int
    model: str
    baseline: str
    ours: str
    theirs: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the judge said of a pair: first, second, tie, or None where that cannot be told."""

    pair: Pair
    ours_first: str | None
    theirs_first: str | None

    @property
    def win(self) -> float:
        """1 where ours won in both orders, 0 where it lost in both, else ½."""
        won = (self.ours_first, self.theirs_first) == (FIRST, SECOND)
        lost = (self.ours_first, self.theirs_first) == (SECOND, FIRST)
        return 1.0 if won else 0.0 if lost else 0.5

    @property
    def unparsable(self) -> bool:
        """Whether a reply was neither of the three words; the pair is a tie."""
        return None in (self.ours_first, self.theirs_first)

    @property
    def inconsistent(self) -> bool:
        """Whether both orders could be read and do not say the same."""
        agree = {(FIRST, SECOND), (SECOND, FIRST), (TIE, TIE)}
        return not self.unparsable and (self.ours_first, self.theirs_first) not in agree


Judging = Callable[[Sequence[Shown]], Sequence[str | None]]
"""Verdicts on pairs as shown: first, second, tie or None."""


def make_pairs(
    records: Sequence[Record], models: Sequence[str], baseline: str, *, per_prompt: int, seed: int
) -> list[Pair]:
    """`per_prompt` pairs of each model with the baseline at each prompt, drawn without repeats."""
    count = 1 + max((r.prompt_index for r in records), default=-1)
    groups = {name: by_prompt(records, name, count) for name in {*models, baseline}}
    found = []
    for model in models:
        for index in range(count) if model != baseline else ():
            ours, theirs = groups[model][index], groups[baseline][index]
            every = [(a, b) for a in ours for b in theirs]
            draw = random.Random(f"{seed} {model} {index}")
            for a, b in draw.sample(every, min(per_prompt, len(every))):
                found.append(
                    Pair(
                        prompt_index=index,
                        model=model,
                        baseline=baseline,
                        ours=a.text,
                        theirs=b.text,
                    )
                )
    return found


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A pair and its outcome: 1, ½ for a tie, 0; a share where several people said."""

    pair: Pair
    win: float


def compare(pairs: Sequence[Pair], rows: Sequence[PromptRow], judge: Judging) -> list[Verdict]:
    """The judge's verdicts. Pairs of one text are ties that nobody is asked about."""
    asked = [pair for pair in pairs if pair.ours != pair.theirs]
    shown = [
        Shown(prompt=rows[pair.prompt_index].prompt, first=first, second=second)
        for pair in asked
        for first, second in ((pair.ours, pair.theirs), (pair.theirs, pair.ours))
    ]
    said = iter(judge(shown))
    verdicts = []
    for pair in pairs:
        same = pair.ours == pair.theirs
        one, other = (TIE, TIE) if same else (next(said), next(said))
        verdicts.append(Verdict(pair=pair, ours_first=one, theirs_first=other))
    return verdicts


def health_of_judge(
    verdicts: Sequence[Verdict], *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Estimate]:
    """Shares that say how far to trust the judge; those of no case are left out.

    judge_unparsable: pairs with a reply that cannot be read. judge_inconsistency: pairs, read in
    both orders, that the judge decides by their order. judge_first: decisions for what stood
    first, 0.5 without a bias.
    """
    asked = [v for v in verdicts if v.pair.ours != v.pair.theirs]
    shares = {
        "judge_unparsable": _by_prompt(asked, lambda v: [float(v.unparsable)]),
        "judge_inconsistency": _by_prompt(
            asked, lambda v: [] if v.unparsable else [float(v.inconsistent)]
        ),
        "judge_first": _by_prompt(
            asked,
            lambda v: [
                float(said == FIRST)
                for said in (v.ours_first, v.theirs_first)
                if said in (FIRST, SECOND)
            ],
        ),
    }
    return {
        name: rate(values, seed=seed, resamples=resamples)
        for name, values in shares.items()
        if any(values)
    }


def _by_prompt(
    verdicts: Sequence[Verdict], of: Callable[[Verdict], list[float]]
) -> list[list[float]]:
    groups: dict[int, list[float]] = {}
    for verdict in verdicts:
        groups.setdefault(verdict.pair.prompt_index, []).extend(of(verdict))
    return list(groups.values())
