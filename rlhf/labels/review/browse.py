"""The item browser: search and filters over all items, a page at a time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from rlhf.errors import DataError
from rlhf.labels import queries
from rlhf.labels.records import LABEL, Item
from rlhf.labels.review.history import ItemHistory
from rlhf.labels.schema import OPEN, items
from rlhf.labels.store import LabelStore

PAGE_SIZE = 50
CHUNK = 500  # items read at once, so that annotators wait only for a part of a search
EXCERPT = 160  # characters
NEWEST, DISAGREEMENT, MOST_SKIPPED = "newest", "disagreement", "skips"
HAS = ("flag", "comment", "skip", "rewrite", "correction", "decision")
STATES = ("open", "done", "unlabelled", "excluded", "gold", "marked", "retired")


@dataclass(frozen=True, kw_only=True)
class ItemFilter:
    """What to show. Empty values filter nothing."""

    text: str = ""  # in the prompt, a response or a comment, in any case
    annotator: str = ""  # labelled or skipped by
    model: str = ""
    category: str = ""  # value of the item's column `category`
    has: str = ""  # one of HAS
    flag: str = ""
    state: str = ""  # one of STATES
    min_disagreement: float = 0.0
    sort: str = NEWEST
    page: int = 1


@dataclass(frozen=True, kw_only=True)
class ItemRow:
    """One item of the list."""

    item: Item
    state: str
    excerpt: str
    labels: int
    annotators: Sequence[str]
    skips: int
    comments: int
    flags: Sequence[str]
    disagreement: float | None


@dataclass(frozen=True, kw_only=True)
class ItemPage:
    """A page of the list."""

    rows: Sequence[ItemRow]
    total: int  # of all pages
    page: int
    pages: int


def browse(
    store: LabelStore, histories: Mapping[int, ItemHistory], wanted: ItemFilter, overlap: int
) -> ItemPage:
    """The items that pass the filter, sorted; at most PAGE_SIZE of them.

    Args:
        store: where the items are.
        histories: what happened to each item.
        wanted: the filter, the order and the page.
        overlap: annotators per item.
    """
    rows = [
        row
        for item, state in _items(store, histories, overlap)
        if (row := _row(item, state, histories.get(item.id, ItemHistory()), wanted)) is not None
    ]
    rows.sort(key=_key(wanted.sort))
    pages = max(1, -(-len(rows) // PAGE_SIZE))
    page = min(max(1, wanted.page), pages)
    shown = rows[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
    return ItemPage(rows=shown, total=len(rows), page=page, pages=pages)


def _items(
    store: LabelStore, histories: Mapping[int, ItemHistory], overlap: int
) -> Iterator[tuple[Item, str]]:
    """Every item with its state, oldest first."""
    last = 0
    while True:
        query = sa.select(items).where(items.c.id > last).order_by(items.c.id).limit(CHUNK)
        with store.read() as connection:
            rows = connection.execute(query).mappings().all()
        for row in rows:
            history = histories.get(row["id"], ItemHistory())
            yield queries.item_of(row), state_of(row, history, overlap)
        if len(rows) < CHUNK:
            return
        last = rows[-1]["id"]


def read_row(store: LabelStore, item_id: int) -> sa.RowMapping:
    """The item's row of the table `items`.

    Raises:
        DataError: no such item.
    """
    with store.read() as connection:
        row = connection.execute(items.select().where(items.c.id == item_id)).mappings().first()
    if row is None:
        raise DataError(f"item {item_id} is not in the store.", code="unknown-name")
    return row


def state_of(row: sa.RowMapping, history: ItemHistory, overlap: int) -> str:
    """One of STATES, of a row of the table `items`; claims without a label do not count."""
    if row["queue"] != OPEN:
        return str(row["queue"])
    labels = sum(label.purpose == LABEL for label in history.standing)
    if labels >= overlap + row["extra"]:
        return "done"
    return "open" if labels else "unlabelled"


def _row(item: Item, state: str, history: ItemHistory, wanted: ItemFilter) -> ItemRow | None:
    """The item's row; None if the filter leaves it out."""
    if wanted.state and state != wanted.state:
        return None
    if wanted.model and wanted.model not in item.models:
        return None
    if wanted.category and item.columns.get("category") != wanted.category:
        return None
    people = {label.annotator for label in history.standing}
    people |= {skip.annotator for skip in history.skips.values()}
    if wanted.annotator and wanted.annotator not in people:
        return None
    if wanted.has and not has(history, wanted.has):
        return None
    flags = flags_of(history)
    if wanted.flag and wanted.flag not in flags:
        return None
    disagreement = history.disagreement
    if wanted.min_disagreement and (disagreement or 0.0) < wanted.min_disagreement:
        return None
    if wanted.text and wanted.text.lower() not in _searched(item, history):
        return None
    return ItemRow(
        item=item,
        state=state,
        excerpt=prompt_text(item)[:EXCERPT],
        labels=len(history.standing),
        annotators=sorted(people),
        skips=len(history.skips),
        comments=len(comments_of(history)),
        flags=flags,
        disagreement=disagreement,
    )


def has(history: ItemHistory, what: str) -> bool:
    """Whether the item has a flag, comment, skip, rewrite, correction or decision (HAS)."""
    labels = history.standing
    return {
        "flag": bool(flags_of(history)),
        "comment": bool(comments_of(history)),
        "skip": bool(history.skips),
        "rewrite": any(label.extra.get("rewrite") for label in labels),
        "correction": any("corrected" in label.extra for label in labels),
        "decision": history.decision is not None,
    }[what]


def flags_of(history: ItemHistory) -> list[str]:
    """Flags that an annotator gave to any response of the item."""
    flags: set[str] = set()
    for label in history.standing:
        of_label = label.extra.get("flags")
        for of_response in of_label if isinstance(of_label, list) else []:
            flags |= {str(flag) for flag in of_response}
    return sorted(flags)


def comments_of(history: ItemHistory) -> list[str]:
    """Comments with labels and with skips."""
    texts = [label.extra.get("comment") for label in history.standing]
    texts += [skip.payload.get("comment") for skip in history.skips.values()]
    return [str(text) for text in texts if text]


def prompt_text(item: Item) -> str:
    """The prompt, or the last message of a conversation."""
    return item.prompt if isinstance(item.prompt, str) else str(item.prompt[-1]["content"])


def _searched(item: Item, history: ItemHistory) -> str:
    turns = item.prompt if isinstance(item.prompt, list) else [{"content": item.prompt}]
    texts = [str(turn["content"]) for turn in turns]
    return "\n".join([*texts, *item.responses, *comments_of(history)]).lower()


def _key(sort: str) -> Callable[[ItemRow], tuple[float, int]]:
    if sort == DISAGREEMENT:
        return lambda row: (-(row.disagreement or 0.0), row.item.id)
    if sort == MOST_SKIPPED:
        return lambda row: (-row.skips, row.item.id)
    return lambda row: (0.0, -row.item.id)
