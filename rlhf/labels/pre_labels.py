"""Pre-labels: a reward model's ranking, shown after an annotator has made their own choice.

Whether it is shown is drawn for each item and annotator. The other labels are held out: they tell
what annotators decide without it. Each label records its group, the model's ranks and, if it was
changed after they were shown, the first choice.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from rlhf.labels.claim_queries import ClaimRow
from rlhf.labels.consensus import ranks_of_scores
from rlhf.labels.records import GOLD_CHECK, LABEL, Judgment, Label, StoredLabel
from rlhf.labels.schema import SUBMIT, events, items, pre_labels
from rlhf.labels.store import LabelStore
from rlhf.rewards.kinds import public_name

PRE_LABEL = "pre_label"  # key of `Label.extra`
EXCERPT = 120  # characters of a response


@dataclass(frozen=True, kw_only=True)
class SecondLook:
    """What an annotator sees after a choice that differs from the model's ranking."""

    ranks: Sequence[int]  # theirs, in the order shown
    model_ranks: Sequence[int]
    excerpts: Sequence[str]


def set_pre_labels(store: LabelStore, source: str, scores: Mapping[int, Sequence[float]]) -> None:
    """Store a reward model's scores by item id; they replace earlier ones.

    The model's name is stored without its folder: labels record it, and are published.
    """
    name = public_name(source)
    with store.write() as connection:
        for item_id, of_item in scores.items():
            connection.execute(sa.delete(pre_labels).where(pre_labels.c.item_id == item_id))
            row = {"item_id": item_id, "source": name, "scores": list(of_item)}
            connection.execute(sa.insert(pre_labels).values(**row))


def is_shown(seed: int, item_id: int, annotator: str, share: float) -> bool:
    """Whether this annotator sees the ranking of this item, with probability `share`."""
    return random.Random(f"{seed} {item_id} {annotator} {PRE_LABEL}").random() < share


def with_pre_label(
    connection: sa.Connection, row: ClaimRow, judgment: Judgment, *, share: float, seed: int
) -> Judgment:
    """The judgment with its group, if the item has a pre-label; gold items have groups too.

    Args:
        connection: in a transaction.
        row: the claim.
        judgment: the submitted one.
        share: probability that the ranking is shown.
        seed: of the draw.
    """
    if row.purpose not in (LABEL, GOLD_CHECK):
        return judgment
    query = sa.select(pre_labels).where(pre_labels.c.item_id == row.item_id)
    known = connection.execute(query).first()
    if known is None:
        return judgment
    record: dict[str, object] = {
        "shown": is_shown(seed, row.item_id, row.annotator, share),
        "source": known.source,
        "ranks": ranks_of_scores(known.scores),
    }
    first = _first_choice(connection, row)
    if record["shown"] and first is not None:
        record["first_ranks"] = first
    return replace(judgment, extra={**judgment.extra, PRE_LABEL: record})


def _first_choice(connection: sa.Connection, row: ClaimRow) -> object:
    """Ranks of the annotator's first label of the item, which was undone; None without one."""
    query = (
        sa.select(events.c.payload)
        .where(events.c.item_id == row.item_id, events.c.annotator == row.annotator)
        .where(events.c.kind == SUBMIT)
        .order_by(events.c.id)
    )
    for payload in connection.scalars(query):
        if payload.get("purpose") == row.purpose and PRE_LABEL in payload.get("extra", {}):
            return payload["ranks"]
    return None


def second_look(connection: sa.Connection, annotator: str, claim_id: int) -> SecondLook | None:
    """The model's ranking for a label that was just submitted.

    None if it is held out, was shown before, or agrees with the label.
    """
    query = (
        sa.select(events.c.payload, items.c.responses)
        .join(items, items.c.id == events.c.item_id)
        .where(events.c.claim_id == claim_id, events.c.annotator == annotator)
        .where(events.c.kind == SUBMIT)
    )
    row = connection.execute(query).first()
    record = None if row is None else row.payload.get("extra", {}).get(PRE_LABEL)
    if row is None or record is None or not record["shown"] or "first_ranks" in record:
        return None
    own, model, order = row.payload["ranks"], record["ranks"], row.payload["order_shown"]
    if list(own) == list(model):
        return None
    return SecondLook(
        ranks=[own[index] for index in order],
        model_ranks=[model[index] for index in order],
        excerpts=[row.responses[index][:EXCERPT] for index in order],
    )


def record_of(label: Label) -> Mapping[str, object] | None:
    """What a label records about its pre-label; None without one."""
    record = label.extra.get(PRE_LABEL)
    return record if isinstance(record, Mapping) else None


def model_ranks(label: StoredLabel) -> Sequence[int]:
    """The ranks of the reward model that a label records."""
    record = record_of(label)
    assert record is not None
    ranks = record["ranks"]
    assert isinstance(ranks, list)
    return ranks
