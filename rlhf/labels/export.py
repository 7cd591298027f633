"""Label store -> files that training reads: rankings, pairs, demonstrations, thumbs."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlhf.data.source_formats.parts import mean_of_text, rank
from rlhf.errors import DataError
from rlhf.labels.formats import as_csv, as_jsonl, as_parquet, card
from rlhf.labels.records import LABEL, REPEAT, THUMB, Item, StoredLabel
from rlhf.labels.store import LabelStore
from rlhf.manifest import write_atomically

SUFFIXES = (".jsonl", ".csv", ".parquet")


@dataclass(frozen=True)
class Exported:
    """Rows of one kind, and what the store held that they do not."""

    rows: Sequence[dict[str, Any]]
    left_out: dict[str, int]  # reason -> count


def export_rankings(store: LabelStore, path: str | Path) -> int:
    """Write every label that stands, one row an annotator and item; how many there were.

    Nothing is lost but an order among equal texts (`one_rank_a_text`): besides prompt, responses,
    ranks, annotator and strength a row holds models, order_shown, seconds, guideline_version,
    purpose, probability, the item's number, the time, what the annotator said of a repeat, and
    the item's other columns. Importing the file into an empty store gives the same items and
    labels.

    Raises:
        DataError: the store holds no label.
    """
    return len(export(store, path, "rankings").rows)


def export(store: LabelStore, path: str | Path, kind: str) -> Exported:
    """Write rows of one kind to a .jsonl, .csv or .parquet file, and its card to `FILE.md`.

    Raises:
        DataError: no row of that kind in the store, or another suffix.
    """
    path = Path(path)
    made = rows_of(store, kind)
    if not made.rows:
        raise DataError(
            f"no label to export to {path} as {kind}; have people rank, or run "
            "`rlhf label simulate`."
        )
    if path.suffix == ".jsonl":
        write_atomically(path, as_jsonl(made.rows))
    elif path.suffix == ".csv":
        write_atomically(path, as_csv(made.rows))
    elif path.suffix == ".parquet":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(as_parquet(made.rows))
    else:
        raise DataError(f"{path}: name a file that ends with {', '.join(SUFFIXES)}.")
    write_atomically(path.with_name(f"{path.name}.md"), card(kind, made.rows, made.left_out))
    return made


def rows_of(store: LabelStore, kind: str) -> Exported:
    """Rows of rankings, pairs, demonstrations or thumbs; raises `DataError` for another kind."""
    if kind not in KINDS:
        raise DataError(f"export kind {kind!r} is not one of {', '.join(KINDS)}.")
    items = {item.id: item for item in store.items()}
    return KINDS[kind](items, store.labels())


def _rankings(items: dict[int, Item], labels: Sequence[StoredLabel]) -> Exported:
    repeats: dict[tuple[int, str], list[StoredLabel]] = {}
    for label in labels:
        if label.purpose == REPEAT:
            repeats.setdefault((label.item_id, label.annotator), []).append(label)
    rows = [
        ranking_row(items[label.item_id], label)
        | _repeats(repeats.get((label.item_id, label.annotator), []))
        for label in labels
        if label.purpose not in (REPEAT, THUMB)
    ]
    thumbs = sum(label.purpose == THUMB for label in labels)
    return Exported(rows, {"thumbs on single answers": thumbs} if thumbs else {})


def _pairs(items: dict[int, Item], labels: Sequence[StoredLabel]) -> Exported:
    rows, ties, checks = [], 0, 0
    for label in labels:
        item = items[label.item_id]
        if label.purpose != LABEL:
            checks += label.purpose != THUMB
            continue
        ranks = one_rank_a_text(item.responses, label.ranks)
        for i, j in itertools.combinations(range(len(ranks)), 2):
            better, worse = (i, j) if ranks[i] < ranks[j] else (j, i)
            if ranks[i] == ranks[j]:
                ties += 1
            else:
                rows.append(_pair(item, label, item.responses[better], item.responses[worse]))
        rewrite = label.extra.get("rewrite")
        if rewrite:
            best = min(range(len(ranks)), key=ranks.__getitem__)
            if rewrite.strip() != item.responses[best].strip():
                rows.append(_pair(item, label, rewrite, item.responses[best]))
    return Exported(rows, {"tied pairs": ties, "gold and repeated items": checks})


def _demonstrations(items: dict[int, Item], labels: Sequence[StoredLabel]) -> Exported:
    rows = [
        {
            "prompt": items[label.item_id].prompt,
            "completion": label.extra["rewrite"],
            "annotator": label.annotator,
        }
        for label in labels
        if label.extra.get("rewrite") and label.purpose == LABEL
    ]
    return Exported(rows, {"labels without a better answer": len(labels) - len(rows)})


def _thumbs(items: dict[int, Item], labels: Sequence[StoredLabel]) -> Exported:
    """KTO rows: a thumb of a chat; an overall mark above the middle is one up, below it down."""
    rows, unmarked, middle = [], 0, 0
    for label in labels:
        if label.purpose not in (LABEL, THUMB):
            continue
        item = items[label.item_id]
        marks = label.extra.get("overall") or [None] * len(item.responses)
        for text, mark in zip(item.responses, marks, strict=True):
            if mark is None:
                unmarked += 1
            elif mark == 4:
                middle += 1
            else:
                row = {"prompt": item.prompt, "completion": text, "label": mark > 4}
                rows.append({**row, "annotator": label.annotator})
    return Exported(rows, {"answers without an overall mark": unmarked, "marks of 4": middle})


KINDS: dict[str, Callable[[dict[int, Item], Sequence[StoredLabel]], Exported]] = {
    "rankings": _rankings,
    "pairs": _pairs,
    "demonstrations": _demonstrations,
    "thumbs": _thumbs,
}


def ranking_row(item: Item, label: StoredLabel) -> dict[str, Any]:
    """One label as a row of a rankings file."""
    return {
        **item.columns,
        "prompt": item.prompt,
        "responses": list(item.responses),
        "ranks": one_rank_a_text(item.responses, label.ranks),
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


def _without_form(extra: Mapping[str, Any]) -> dict[str, Any]:
    """The form as the page had it says nothing that is not said in the order of the responses."""
    return {key: value for key, value in extra.items() if key != "form"}


def one_rank_a_text(responses: Sequence[str], ranks: Sequence[int]) -> list[int]:
    """`ranks`; where equal texts were ranked apart, that of the mean of each text's ranks.

    People may rank one text above itself; a row that did would be refused.
    """
    means = mean_of_text(ranks, responses)
    return list(ranks) if means == list(ranks) else rank([-mean for mean in means])


def _repeats(labels: Sequence[StoredLabel]) -> dict[str, Any]:
    said = [
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
    return {"repeats": said} if said else {}


def _pair(item: Item, label: StoredLabel, chosen: str, rejected: str) -> dict[str, Any]:
    return {
        "prompt": item.prompt,
        "chosen": chosen,
        "rejected": rejected,
        "annotator": label.annotator,
        "strength": label.strength,
    }
