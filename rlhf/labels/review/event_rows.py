"""Rows of the event log: labels, skips with their reasons, undos, late labels, decisions."""

from collections.abc import Mapping, Sequence

from rlhf.labels.events import LoggedEvent
from rlhf.labels.records import Item
from rlhf.labels.schema import UNDO


def event_rows(log: Sequence[LoggedEvent], items: Mapping[int, Item]) -> list[dict[str, object]]:
    """One row per event, oldest first; fields that an event does not have are None.

    log: the events.
    items: the items by id.
    """
    undone_by = {event.undoes: event.id for event in log if event.kind == UNDO}
    return [_row(event, items[event.item_id], undone_by.get(event.id)) for event in log]


def _row(event: LoggedEvent, item: Item, undone_by: int | None) -> dict[str, object]:
    payload = event.payload
    extra = payload.get("extra")
    fields = extra if isinstance(extra, Mapping) else {}
    return {
        "event_id": event.id,
        "kind": event.kind,
        "at": event.at,
        "item_id": event.item_id,
        "prompt": item.prompt,
        "annotator": event.annotator,
        "purpose": payload.get("purpose"),
        "reason": payload.get("reason"),
        "comment": payload.get("comment") or fields.get("comment"),
        "seconds": payload.get("seconds"),
        "ranks": payload.get("ranks"),
        "order_shown": payload.get("order_shown"),
        "strength": payload.get("strength"),
        "guideline_version": payload.get("guideline_version"),
        "form_version": payload.get("form_version"),
        "extra": {key: value for key, value in fields.items() if key != "form"} or None,
        "by": payload.get("by"),
        "undoes": event.undoes,
        "undone_by": undone_by,
    }
