"""People as judges: blinded pairs through the label store, with gold items and hidden repeats."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from rlhf.evaluation.judges.pairwise import Compared, Pair
from rlhf.evaluation.stats.bootstrap import Estimate
from rlhf.labels.importing import import_file
from rlhf.labels.records import LABEL, Candidate, order_of
from rlhf.labels.shares import Share
from rlhf.labels.stats import label_stats
from rlhf.labels.store import LabelStore
from rlhf.ops.accuracy import share_with_interval
from rlhf.types import PromptRow


@dataclass(frozen=True, kw_only=True)
class HumanVerdicts:
    """What people have said so far."""

    compared: Sequence[Compared]  # pairs that somebody labelled, and pairs of one text: ties
    unlabelled: int
    health: dict[str, Estimate]  # judge_gold, judge_repeat, judge_first


def put_pairs(
    store: LabelStore, pairs: Sequence[Pair], rows: Sequence[PromptRow], gold: str | None
) -> None:
    """The pairs as items: the page shows them in a random order and names no model.

    Pairs of one text are not asked about. gold: a file of rankings that are known, mixed in to
    measure the people. What is there already stays as it is.

    Raises:
        DataError: gold rows that cannot be used.
    """
    store.add_candidates([_candidate(pair, rows) for pair in pairs if pair.ours != pair.theirs])
    if gold is not None:
        import_file(store, gold, as_gold=True)


def read_labels(
    store: LabelStore, pairs: Sequence[Pair], rows: Sequence[PromptRow]
) -> HumanVerdicts:
    """The win of each labelled pair: the mean over its annotators, a tie counting ½."""
    asked = [pair for pair in pairs if pair.ours != pair.theirs]
    ids = store.add_candidates([_candidate(pair, rows) for pair in asked])
    said: dict[int, list[float]] = {}
    for label in store.labels():
        if label.purpose == LABEL:
            # Which answer stands first in the item is the store's affair, not the annotator's.
            said.setdefault(label.item_id, []).append((1 + order_of(label.ranks, 0, 1)) / 2)
    compared = [
        Compared(pair=pair, win=sum(said[item]) / len(said[item]))
        for pair, item in zip(asked, ids, strict=True)
        if item in said
    ]
    ties = [Compared(pair=pair, win=0.5) for pair in pairs if pair.ours == pair.theirs]
    return HumanVerdicts(
        compared=compared + ties,
        unlabelled=len(asked) - len(compared),
        health=_health(store),
    )


def _candidate(pair: Pair, rows: Sequence[PromptRow]) -> Candidate:
    row = rows[pair.prompt_index]
    return Candidate(
        prompt=row.prompt,
        responses=[pair.ours, pair.theirs],
        models=[pair.model, pair.baseline],
        columns={"prompt_index": pair.prompt_index},
    )


def _health(store: LabelStore) -> dict[str, Estimate]:
    """Gold items right, repeats answered alike, decisions for what stood first."""
    annotators = label_stats(store).annotators
    shares = {
        "judge_gold": [one.gold_items for one in annotators],
        "judge_repeat": [one.self_agreement for one in annotators],
        "judge_first": [one.first_shown for one in annotators],
    }
    return {name: _pooled(of) for name, of in shares.items() if sum(one.n for one in of)}


def _pooled(shares: Sequence[Share]) -> Estimate:
    """Over all cases of all annotators, with Wilson's interval of so many coin flips."""
    cases = sum(one.n for one in shares)
    right = round(sum(one.value * one.n for one in shares))
    flips = torch.tensor([1.0] * right + [0.0] * (cases - right))
    value, low, high = share_with_interval(flips, torch.ones(cases))
    return Estimate(value=value, low=low, high=high, n=cases)
