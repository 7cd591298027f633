"""Label store -> files that the reward model reads."""

import json
from pathlib import Path
from typing import Any

from rlhf.errors import DataError
from rlhf.labels.records import Item, StoredLabel
from rlhf.labels.store import LabelStore
from rlhf.manifest import write_atomically


def export_rankings(store: LabelStore, path: str | Path) -> int:
    """Write every label that stands, one JSON line each; how many there were.

    Nothing is lost: besides prompt, responses, ranks, annotator and strength a row holds models,
    order_shown, seconds, guideline_version, the item's number, the time and the item's other
    columns. Importing the file into an empty store gives the same items and labels.

    Raises:
        DataError: the store holds no label.
    """
    items = {item.id: item for item in store.items()}
    labels = store.labels()
    if not labels:
        raise DataError(
            f"no label to export to {path}; have people rank, or run `rlhf label simulate`."
        )
    rows = [ranking_row(items[label.item_id], label) for label in labels]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    write_atomically(Path(path), "".join(lines))
    return len(rows)


def ranking_row(item: Item, label: StoredLabel) -> dict[str, Any]:
    """One label as a row of a rankings file."""
    return {
        **item.columns,
        "prompt": item.prompt,
        "responses": list(item.responses),
        "ranks": list(label.ranks),
        "annotator": label.annotator,
        "strength": label.strength,
        "models": list(item.models),
        "order_shown": list(label.order_shown),
        "seconds": label.seconds,
        "guideline_version": label.guideline_version,
        "extra": dict(label.extra),
        "item_id": item.id,
        "labelled_at": label.at,
    }
