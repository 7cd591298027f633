"""Accuracy of a reward model by category of prompts and by group of annotators."""

from collections.abc import Callable, Iterator, Sequence

from rlhf.evaluation.core.results import Result
from rlhf.evaluation.core.win_rates import part_result, with_q
from rlhf.evaluation.reward_model.scored_rankings import ScoredRanking, agreement
from rlhf.evaluation.stats.parts import Case, compare_parts, worst_part

CATEGORY, GROUP, ANNOTATOR = "category ", "group ", "annotator "  # before a part's name
WORST = {CATEGORY: "accuracy_worst_category", GROUP: "accuracy_worst_group"}


def with_parts(
    results: Sequence[Result], scored: Sequence[ScoredRanking], model: str
) -> list[Result]:
    """The results with the accuracy of every category and group, and the worst of each kind.

    Every one of them, and of the annotators in `results`, has q: its difference from the rest of
    its kind, corrected for their number (Benjamini and Hochberg). Rows without a category or group
    are part of the rest.
    """
    kinds: dict[str, Callable[[ScoredRanking], str]] = {
        CATEGORY: lambda one: one.ranking.category,
        GROUP: lambda one: one.ranking.annotator_group,
        ANNOTATOR: lambda one: one.ranking.annotator,
    }
    extended = list(results)
    for kind, part_of in kinds.items():
        if not any(part_of(one) for one in scored):
            continue
        parts = compare_parts(_cases(scored, kind, part_of))
        if kind == ANNOTATOR:
            extended = with_q(extended, parts, "accuracy", model)
            continue
        named = [part for part in parts if part.name != f"{kind}(none)"]
        extended += [part_result(part, "accuracy", model) for part in named]
        if (worst := worst_part(named)) is not None:
            extended.append(part_result(worst, WORST[kind], model))
    return extended


def worst_parts(results: Sequence[Result]) -> list[Result]:
    """The worst category and the worst group, where there are any."""
    return [one for one in results if one.metric in WORST.values()]


def _cases(
    scored: Sequence[ScoredRanking], kind: str, part_of: Callable[[ScoredRanking], str]
) -> Iterator[Case]:
    """Prompt, part, and whether the scores order a pair as the annotator did."""
    unnamed = "(unnamed)" if kind == ANNOTATOR else "(none)"
    for one in scored:
        name = kind + (part_of(one) or unnamed)
        for first, second, share in one.pairs:
            yield one.prompt, name, agreement(one.scores[first], one.scores[second], share)
