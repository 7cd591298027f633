"""Label store -> files: rows for training, events, hours of work, records of annotation tools."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rlhf.errors import ConfigError, DataError
from rlhf.labels import queries
from rlhf.labels.annotation_tools import argilla_records, label_studio_tasks
from rlhf.labels.consensus_rows import (
    ConsensusOptions,
    agreed_pairs,
    agreed_ranking,
    consensus_of,
)
from rlhf.labels.dataset_card import dataset_card
from rlhf.labels.events import logged_events
from rlhf.labels.formats import BYTE_ORDER_MARK, as_csv, as_jsonl, as_parquet
from rlhf.labels.label_rows import (
    BY_LABEL,
    GOLD_ITEMS,
    PAIRS,
    RANKINGS,
    ExportedRows,
    gold_rows,
)
from rlhf.labels.records import Item, StoredLabel
from rlhf.labels.review.event_rows import event_rows
from rlhf.labels.review.history import Histories
from rlhf.labels.review.progress import work_rows
from rlhf.labels.row_versions import digests_of, with_digests
from rlhf.labels.schema import SUBMIT
from rlhf.manifest import write_atomically
from rlhf.runtime.printing import counted

if TYPE_CHECKING:
    from rlhf.labels.store import LabelStore

SUFFIXES = (".jsonl", ".csv", ".parquet")
# Kinds that other programs read: one JSON array.
FOR_TOOLS: dict[
    str,
    Callable[
        [Mapping[int, Item], Sequence[StoredLabel]], tuple[list[dict[str, object]], dict[str, int]]
    ],
] = {"argilla": argilla_records, "label_studio": label_studio_tasks}
EVENTS, WORK = "events", "work"
AGREED_KINDS = (RANKINGS, PAIRS)  # these may have one ranking of each item
KINDS = (*BY_LABEL, GOLD_ITEMS, EVENTS, WORK)


def export(
    store: "LabelStore",
    path: str | Path,
    kind: str,
    options: ConsensusOptions | None = None,
    *,
    consent: str = "",
    license_name: str = "",
) -> ExportedRows:
    """Write rows of one kind to a .jsonl, .csv or .parquet file, and its card to `FILE.md`.

    The file has mode 0600, as the store: it has the annotators' names.
    Rankings have one row per label and lose nothing but an order among equal texts
    (`one_rank_per_text`): importing the file into an empty store gives the same items and labels.
    Labels of gold items are in a file of their own, which training does not read.

    Args:
        store: the labels.
        path: the file to write.
        kind: one of KINDS; or argilla or label_studio, a .json file without a card.
        options: for rankings and pairs, one ranking of each item in place of all its labels.
        consent: what the annotators agreed to, for the card.
        license_name: the hub's name of a licence, for the card.

    Raises:
        DataError: no row of that kind in the store, or another kind or suffix.
        ConfigError: a consensus that does not fit the kind.
    """
    path = Path(path)
    if kind in FOR_TOOLS and options is None:
        return _export_for_tool(store, path, kind)
    exported = rows_of(store, kind, options)
    if not exported.rows:
        raise DataError(_why_empty(store, path, kind, exported), code="no-rows")
    write_atomically(path, _content(path, exported.rows), private=True)
    text = dataset_card(
        store,
        kind,
        exported.rows,
        exported.left_out,
        consensus=str(options or ""),
        file=path.name,
        consent=consent,
        license_name=license_name,
    )
    write_atomically(card_path(path), text)
    return exported


def _content(path: Path, rows: Sequence[dict[str, object]]) -> str | bytes:
    """The rows in the format of the file's name.

    Raises:
        DataError: another suffix.
    """
    if path.suffix == ".jsonl":
        return as_jsonl(rows)
    if path.suffix == ".csv":
        return BYTE_ORDER_MARK + as_csv(rows)
    if path.suffix == ".parquet":
        return as_parquet(rows)
    raise DataError(
        f"{path}: the file name has to end with {', '.join(SUFFIXES)}.", code="unknown-format"
    )


def _why_empty(store: "LabelStore", path: Path, kind: str, exported: ExportedRows) -> str:
    """Why there is no row of a kind to export, and what to do."""
    num_labels = store.count_events().get(SUBMIT, 0)
    if not num_labels:
        return (
            f"no label to export to {path} as {kind}; collect labels with `rlhf label serve`, or "
            "run `rlhf label simulate`."
        )
    left_out = [f"{reason}: {count}" for reason, count in exported.left_out.items() if count]
    reasons = f" (left out: {'; '.join(left_out)})" if left_out else ""
    # If no label counts, the other kinds of labels have no rows either.
    steps = ["choose another --kind"] if store.labels() else []
    if queries.EXCLUDED_LABELS in exported.left_out:
        steps.append("bring items back (button Bring back on the page of an item)")
    return (
        f"{path}: there are {counted(num_labels, 'label')} and no row of the kind {kind}{reasons}; "
        f"{' or '.join(steps) or 'collect labels with `rlhf label serve`'}."
    )


def card_path(path: Path) -> Path:
    """Where the card of an exported file is."""
    return path.with_name(f"{path.name}.md")


def _export_for_tool(store: "LabelStore", path: Path, kind: str) -> ExportedRows:
    if path.suffix != ".json":
        raise DataError(
            f"{path}: the file name of kind {kind} has to end with .json.", code="unknown-format"
        )
    gold = store.gold_ranks()  # their rankings could not come back as labels
    items = {item.id: item for item in store.items() if item.id not in gold}
    records, left_out = FOR_TOOLS[kind](items, store.labels())
    left_out |= {"gold items": len(gold)} if gold else {}
    if not records:
        raise DataError(f"no item to export to {path} as {kind}.", code="no-rows")
    text = json.dumps(records, ensure_ascii=False, indent=1) + "\n"
    write_atomically(path, text, private=True)
    return ExportedRows(records, left_out)


def rows_of(
    store: "LabelStore", kind: str, options: ConsensusOptions | None = None
) -> ExportedRows:
    """Rows of one of KINDS, without labels that do not count; see `export`.

    Raises:
        DataError: another kind.
        ConfigError: a consensus that does not fit the kind.
    """
    if kind not in KINDS:
        raise DataError(f"export kind {kind!r} is not one of {', '.join(KINDS)}.", code="bad-value")
    if options is not None and kind not in AGREED_KINDS:
        raise ConfigError(
            f"consensus={options.method} goes with --kind {' or '.join(AGREED_KINDS)}, not {kind}; "
            "leave it out.",
            code="key-conflict",
        )
    if kind == WORK:
        return ExportedRows(work_rows(Histories(store).get().values()), {})
    items = {item.id: item for item in store.items()}
    with store.read() as connection:
        if kind == EVENTS:
            return ExportedRows(event_rows(logged_events(connection), items), {})
        uncounted = queries.count_uncounted_labels(connection)
        digests = digests_of(connection)
    labels = store.labels()
    if kind == GOLD_ITEMS:
        exported = gold_rows(items, labels, store.gold_ranks())
    elif options is None:
        exported = BY_LABEL[kind](items, labels)
    else:
        exported = _by_item(items, labels, options, kind)
    rows = exported.rows
    if kind in (RANKINGS, GOLD_ITEMS) and options is None:  # an import takes these rows as labels
        rows = [with_digests(row, digests) for row in rows]
    return ExportedRows(rows, {**exported.left_out, **uncounted})


def _by_item(
    items: dict[int, Item], labels: Sequence[StoredLabel], options: ConsensusOptions, kind: str
) -> ExportedRows:
    """One ranking of each item, as rankings or as pairs."""
    agreed = consensus_of(labels, options)
    if kind == RANKINGS:
        return ExportedRows([agreed_ranking(items[one.item_id], one) for one in agreed], {})
    rows = [row for one in agreed for row in agreed_pairs(items[one.item_id], one)]
    num_pairs = sum(len(one.pairs) for one in agreed)
    return ExportedRows(rows, {"tied pairs": num_pairs - len(rows)})
