"""Label store -> files: rankings, pairs, demonstrations and thumbs for training, and events."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rlhf.errors import ConfigError, DataError
from rlhf.labels import queries
from rlhf.labels.consensus_rows import (
    ConsensusOptions,
    agreed_pairs,
    agreed_ranking,
    consensus_of,
)
from rlhf.labels.dataset_card import card_facts, dataset_card
from rlhf.labels.equal_texts import one_rank_per_text
from rlhf.labels.events import logged_events
from rlhf.labels.formats import BYTE_ORDER_MARK, as_csv, as_jsonl, as_parquet
from rlhf.labels.records import ADJUDICATION, LABEL, QUALIFY, REPEAT, THUMB, Item, StoredLabel
from rlhf.labels.review.event_rows import event_rows
from rlhf.labels.review.history import is_decision
from rlhf.manifest import write_atomically

if TYPE_CHECKING:
    from rlhf.labels.store import LabelStore

SUFFIXES = (".jsonl", ".csv", ".parquet")
RANKINGS, PAIRS, DEMONSTRATIONS, THUMBS, EVENTS = (
    *("rankings", "pairs", "demonstrations", "thumbs"),
    "events",
)
KINDS = (RANKINGS, PAIRS, DEMONSTRATIONS, THUMBS, EVENTS)


@dataclass(frozen=True)
class ExportedRows:
    """Rows of one kind, and how many labels or pairs they leave out."""

    rows: Sequence[dict[str, object]]
    left_out: dict[str, int]  # reason -> count


def export(
    store: "LabelStore", path: str | Path, kind: str, options: ConsensusOptions | None = None
) -> ExportedRows:
    """Write rows of one kind to a .jsonl, .csv or .parquet file, and its card to `FILE.md`.

    Rankings have one row per label and lose nothing but an order among equal texts
    (`one_rank_per_text`): importing the file into an empty store gives the same items and labels.

    Args:
        store: the labels.
        path: the file to write.
        kind: one of KINDS.
        options: for rankings and pairs, one ranking of each item in place of all its labels.

    Raises:
        DataError: no row of that kind in the store, or another kind or suffix.
        ConfigError: a consensus that does not fit the kind.
    """
    path = Path(path)
    exported = rows_of(store, kind, options)
    if not exported.rows:
        raise DataError(
            f"no label to export to {path} as {kind}; collect labels with `rlhf label serve`, or "
            "run `rlhf label simulate`.",
            code="no-rows",
        )
    if path.suffix == ".jsonl":
        write_atomically(path, as_jsonl(exported.rows))
    elif path.suffix == ".csv":
        write_atomically(path, BYTE_ORDER_MARK + as_csv(exported.rows))
    elif path.suffix == ".parquet":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(as_parquet(exported.rows))
    else:
        raise DataError(
            f"{path}: the file name has to end with {', '.join(SUFFIXES)}.", code="unknown-format"
        )
    text = dataset_card(kind, exported.rows, exported.left_out, card_facts(store))
    write_atomically(path.with_name(f"{path.name}.md"), text)
    return exported


def rows_of(
    store: "LabelStore", kind: str, options: ConsensusOptions | None = None
) -> ExportedRows:
    """Rows of one kind, without excluded items; see `export`.

    Raises:
        DataError: another kind.
        ConfigError: a consensus that does not fit the kind.
    """
    if kind not in KINDS:
        raise DataError(f"export kind {kind!r} is not one of {', '.join(KINDS)}.", code="bad-value")
    if options is not None and kind not in (RANKINGS, PAIRS):
        raise ConfigError(
            f"consensus={options.method} goes with --kind {RANKINGS} or {PAIRS}, not {kind}; leave "
            "it out.",
            code="key-conflict",
        )
    items = {item.id: item for item in store.items()}
    with store.read() as connection:
        if kind == EVENTS:
            return ExportedRows(event_rows(logged_events(connection), items), {})
        excluded = queries.count_excluded_labels(connection)
    labels = store.labels()
    if options is None:
        exported = BY_LABEL[kind](items, labels)
    else:
        exported = _by_item(items, labels, options, kind)
    if not excluded:
        return exported
    return ExportedRows(exported.rows, {**exported.left_out, "labels of excluded items": excluded})


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


def _rankings(items: dict[int, Item], labels: Sequence[StoredLabel]) -> ExportedRows:
    repeats: dict[tuple[int, str], list[StoredLabel]] = {}
    for label in labels:
        if label.purpose == REPEAT:
            repeats.setdefault((label.item_id, label.annotator), []).append(label)
    rows = [
        ranking_row(items[label.item_id], label)
        | _repeats_column(repeats.get((label.item_id, label.annotator), []))
        for label in labels
        if label.purpose not in (REPEAT, THUMB, QUALIFY) and not _is_blind(label)
    ]
    left_out = {
        "thumbs on single responses": sum(label.purpose == THUMB for label in labels),
        "labels of qualification rounds": sum(label.purpose == QUALIFY for label in labels),
        "blind rankings that wait for an adjudicator": sum(map(_is_blind, labels)),
    }
    return ExportedRows(rows, {reason: count for reason, count in left_out.items() if count})


def _is_blind(label: StoredLabel) -> bool:
    """Whether an adjudicator gave the label before they saw those of the annotators."""
    return label.purpose == ADJUDICATION and not is_decision(label)


def _pairs(items: dict[int, Item], labels: Sequence[StoredLabel]) -> ExportedRows:
    rows, ties, checks = [], 0, 0
    for label in labels:
        item = items[label.item_id]
        if label.purpose != LABEL:
            checks += label.purpose not in (THUMB, ADJUDICATION)
            continue
        ranks = one_rank_per_text(item.responses, label.ranks)
        for i, j in itertools.combinations(range(len(ranks)), 2):
            better, worse = (i, j) if ranks[i] < ranks[j] else (j, i)
            if ranks[i] == ranks[j]:
                ties += 1
            else:
                pair = _pair(item, label, item.responses[better], item.responses[worse])
                rows.append(pair | _origins(label, [better, worse]))
        if rewrite := _rewrite(label):
            best = min(range(len(ranks)), key=ranks.__getitem__)
            if rewrite.strip() != item.responses[best].strip():
                rows.append(_pair(item, label, rewrite, item.responses[best]))
    return ExportedRows(rows, {"tied pairs": ties, "gold and repeated items": checks})


def _rewrite(label: StoredLabel) -> str:
    """The response that the annotator wrote; "" without one."""
    text = label.extra.get("rewrite")
    return text if isinstance(text, str) else ""


def _demonstrations(items: dict[int, Item], labels: Sequence[StoredLabel]) -> ExportedRows:
    rows: list[dict[str, object]] = [
        {
            "prompt": items[label.item_id].prompt,
            "completion": _rewrite(label),
            "annotator": label.annotator,
        }
        for label in labels
        if _rewrite(label) and label.purpose == LABEL
    ]
    return ExportedRows(rows, {"labels without a written response": len(labels) - len(rows)})


def _thumbs(items: dict[int, Item], labels: Sequence[StoredLabel]) -> ExportedRows:
    """KTO rows: a thumb of a chat; an overall rating above 4 is a thumb up, below 4 one down."""
    rows, unrated, neutral = [], 0, 0
    for label in labels:
        if label.purpose not in (LABEL, THUMB):
            continue
        item = items[label.item_id]
        overall = label.extra.get("overall")
        ratings = overall if isinstance(overall, list) and overall else [None] * len(item.responses)
        for index, (text, rating) in enumerate(zip(item.responses, ratings, strict=True)):
            if rating is None:
                unrated += 1
            elif rating == 4:
                neutral += 1
            else:
                row = {"prompt": item.prompt, "completion": text, "label": rating > 4}
                rows.append({**row, "annotator": label.annotator, **_origins(label, [index])})
    left_out = {"responses without an overall rating": unrated, "overall ratings of 4": neutral}
    return ExportedRows(rows, left_out)


BY_LABEL: dict[str, Callable[[dict[int, Item], Sequence[StoredLabel]], ExportedRows]] = {
    RANKINGS: _rankings,
    PAIRS: _pairs,
    DEMONSTRATIONS: _demonstrations,
    THUMBS: _thumbs,
}


def ranking_row(item: Item, label: StoredLabel) -> dict[str, object]:
    """One label as a row of a rankings file."""
    return {
        **item.columns,
        "prompt": item.prompt,
        "responses": list(item.responses),
        "ranks": one_rank_per_text(item.responses, label.ranks),
        "annotator": label.annotator,
        "strength": label.strength,
        "models": list(item.models),
        "order_shown": list(label.order_shown),
        "seconds": label.seconds,
        "guideline_version": label.guideline_version,
        "purpose": label.purpose,
        "probability": label.probability,
        "extra": _without_form(label.extra),
        "item_id": item.id,
        "labelled_at": label.at,
    }


def _without_form(extra: Mapping[str, object]) -> dict[str, object]:
    """`extra` without the page's raw form, which repeats the other fields in the order shown."""
    return {key: value for key, value in extra.items() if key != "form"}


def _repeats_column(labels: Sequence[StoredLabel]) -> dict[str, object]:
    repeats = [
        {
            "ranks": list(label.ranks),
            "strength": label.strength,
            "order_shown": list(label.order_shown),
            "seconds": label.seconds,
            "guideline_version": label.guideline_version,
            "extra": _without_form(label.extra),
            "labelled_at": label.at,
        }
        for label in labels
    ]
    return {"repeats": repeats} if repeats else {}


def _origins(label: StoredLabel, indices: Sequence[int]) -> dict[str, object]:
    """How these responses of a chat ended and whether they were steered, if the label says so."""
    return {
        name: [values[index] for index in indices]
        for name in ("endings", "steered")
        if isinstance(values := label.extra.get(name), list)
    }


def _pair(item: Item, label: StoredLabel, chosen: str, rejected: str) -> dict[str, object]:
    return {
        "prompt": item.prompt,
        "chosen": chosen,
        "rejected": rejected,
        "annotator": label.annotator,
        "strength": label.strength,
    }
