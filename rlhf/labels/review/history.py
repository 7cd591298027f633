"""The history of each item, from the event log; later requests read only the new events."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from rlhf.labels.disagreement import disagreement, rankings_of
from rlhf.labels.events import LoggedEvent, logged_events
from rlhf.labels.records import ADJUDICATION, StoredLabel
from rlhf.labels.schema import CONTEST, LATE, SKIP, SUBMIT, UNDO, tombstones
from rlhf.labels.store import LabelStore

BLIND, FINAL = "blind", "final"  # an adjudicator ranks before and after seeing the labels


@dataclass
class ItemHistory:
    """What happened to one item."""

    events: list[LoggedEvent] = field(default_factory=list)  # oldest first
    labels: dict[int, StoredLabel] = field(default_factory=dict)  # event id -> standing label
    skips: dict[int, LoggedEvent] = field(default_factory=dict)  # event id -> skip, not undone

    @property
    def standing(self) -> Sequence[StoredLabel]:
        """Labels that were not undone, oldest first."""
        return list(self.labels.values())

    @property
    def disagreement(self) -> float | None:
        """Of its annotators, from 0 to 1; None with fewer than two."""
        return disagreement(rankings_of(self.standing))

    @property
    def decision(self) -> StoredLabel | None:
        """The adjudicator's label, if there is one."""
        decisions = [label for label in self.standing if is_decision(label)]
        return decisions[-1] if decisions else None

    @property
    def is_contested(self) -> bool:
        """Whether the administrator sent the item to the adjudicators after its last decision."""
        decided = 0 if self.decision is None else self.decision.event_id
        return any(event.kind == CONTEST and event.id > decided for event in self.events)


def is_decision(label: StoredLabel) -> bool:
    """Whether the label is an adjudicator's decision, not their ranking before they saw others."""
    return label.purpose == ADJUDICATION and label.extra.get("stage") == FINAL


class Histories:
    """Histories by item id. Events are only ever added, so each is read once.

    After an erasure, which deletes or changes some, all are read again.
    """

    def __init__(self, store: LabelStore) -> None:
        self._store, self._lock = store, threading.Lock()
        self._histories: Mapping[int, ItemHistory] = {}
        self._last, self._erasures = 0, 0

    def get(self) -> Mapping[int, ItemHistory]:
        """The histories up to now; later calls do not change them."""
        with self._lock:
            with self._store.read() as connection:
                count = sa.select(sa.func.count()).select_from(tombstones)
                erasures = connection.scalar(count) or 0
                if erasures != self._erasures:
                    self._histories, self._last, self._erasures = {}, 0, erasures
                new = logged_events(connection, after=self._last)
            self._histories = {**self._histories, **_with_events(self._histories, new)}
            self._last = new[-1].id if new else self._last
            return self._histories


def _with_events(
    histories: Mapping[int, ItemHistory], new: Sequence[LoggedEvent]
) -> dict[int, ItemHistory]:
    """New histories of the items with new events: other threads may read the old ones."""
    changed: dict[int, ItemHistory] = {}
    for event in new:
        if event.item_id not in changed:
            old = histories.get(event.item_id, ItemHistory())
            changed[event.item_id] = ItemHistory(
                events=list(old.events), labels=dict(old.labels), skips=dict(old.skips)
            )
        add_event(changed[event.item_id], event)
    return changed


def add_event(history: ItemHistory, event: LoggedEvent) -> None:
    """Add the next event of an item to its history."""
    history.events.append(event)
    if event.kind == SUBMIT:
        history.labels[event.id] = label_of(event)
    elif event.kind == SKIP:
        history.skips[event.id] = event
    elif event.kind == UNDO and event.undoes is not None:
        history.labels.pop(event.undoes, None)
        history.skips.pop(event.undoes, None)


def label_of(event: LoggedEvent) -> StoredLabel:
    """The label of a `submit` or `late` event."""
    assert event.kind in (SUBMIT, LATE), event.kind
    payload: dict[str, object] = dict(event.payload)
    return StoredLabel(
        event_id=event.id,
        at=event.at,
        item_id=event.item_id,
        annotator=event.annotator,
        **payload,  # type: ignore[arg-type]
    )
