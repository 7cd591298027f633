"""Single labels of annotators: win rates by group of annotators, and how labels split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rlhf.errors import DataError
from rlhf.evaluation.core.metric_spec import MetricSpec
from rlhf.evaluation.core.results import ANNOTATORS, Result, result_of
from rlhf.evaluation.core.study_config import HUMAN
from rlhf.evaluation.judges.pairwise import Pair
from rlhf.evaluation.judges.pairwise_metrics import names_of, part_results
from rlhf.evaluation.stats.bootstrap import rate
from rlhf.evaluation.stats.soft_labels import KINDS, kind_of_votes
from rlhf.runtime.config import read_yaml

GROUP = "group "  # before the name of a group of annotators, in `subset`
UNGROUPED = "(no group)"
WORST_GROUP = "win_rate_worst_group"


@dataclass(frozen=True, kw_only=True)
class Vote:
    """One annotator's label of a pair."""

    pair: Pair
    annotator: str
    win: float  # 1 if the model's response was preferred, ½ for a tie, 0


def read_groups(path: str) -> dict[str, str]:
    """Annotator -> group, from a YAML file of `annotator: group`.

    Raises:
        ConfigError: the file cannot be read.
        DataError: a group is not a text.
    """
    groups = {}
    for annotator, group in read_yaml(Path(path)).items():
        if not isinstance(group, str):
            raise DataError(
                f"annotator_groups={path}: the group of {annotator!r} is {group!r}; write "
                "`annotator: group` with a text for each group.",
                code="bad-value",
            )
        groups[str(annotator)] = group
    return groups


def vote_results(
    votes: Sequence[Vote], groups: Mapping[str, str], spec: MetricSpec
) -> list[Result]:
    """Win rates by group of annotators, the worst group, and the distribution of votes.

    Groups are compared on the prompts that they labelled; a prompt that several groups labelled is
    paired. Annotators without a group form one of their own.

    Args:
        votes: all labels.
        groups: annotator -> group; empty for no groups.
        spec: models and baseline.
    """
    results = []
    for model in spec.models if groups else ():
        cases = [
            (
                str(vote.pair.prompt_index),
                GROUP + groups.get(vote.annotator, UNGROUPED),
                vote.win,
            )
            for vote in votes
            if names_of(vote.pair) == (model, spec.baseline)
        ]
        results += part_results(cases, WORST_GROUP, model, HUMAN, spec)
    return [*results, *vote_distribution(votes, spec)]


def vote_distribution(votes: Sequence[Vote], spec: MetricSpec) -> list[Result]:
    """Shares of the pairs with several annotators that are unanimous, have a majority, or split.

    A pair on which people split stays split: its win is the share of the votes.
    """
    by_pair: dict[Pair, list[float]] = {}
    for vote in votes:
        by_pair.setdefault(vote.pair, []).append(vote.win)
    kinds: dict[int, list[str]] = {}
    for pair, wins in by_pair.items():
        if len(wins) > 1:
            kinds.setdefault(pair.prompt_index, []).append(kind_of_votes(sum(wins) / len(wins)))
    results = []
    for name in KINDS if kinds else ():
        shares = [[float(kind == name) for kind in of_prompt] for of_prompt in kinds.values()]
        estimate = rate(shares, **spec.bootstrap)
        result = result_of(estimate, "vote_distribution", ANNOTATORS, judge=HUMAN)
        results.append(replace(result, axis=name))
    return results
