"""The page of events: skips with their reasons, undos, late labels, decisions."""

from collections.abc import Sequence

import jinja2
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

from rlhf.labels import queries
from rlhf.labels.events import LoggedEvent
from rlhf.labels.review.browse import read_row
from rlhf.labels.review.event_rows import event_rows
from rlhf.labels.review.history import Histories
from rlhf.labels.schema import CONTEST, EXCLUDE, LATE, REOPEN, SKIP, SUBMIT, UNDO
from rlhf.labels.store import LabelStore
from rlhf.labels.web.admin_items import Word

MAX_EVENTS = 200  # on the page of events; the export has all
KINDS = (SUBMIT, SKIP, UNDO, LATE, EXCLUDE, REOPEN, CONTEST)


def add_event_page(
    app: FastAPI, store: LabelStore, pages: jinja2.Environment, histories: Histories
) -> None:
    """Add the route of the events."""

    @app.get("/admin/events", response_class=HTMLResponse)
    def list_events(request: Request, kind: Word = "", annotator: Word = "") -> str:
        log = [event for history in histories.get().values() for event in history.events]
        log = [
            event
            for event in sorted(log, key=lambda event: -event.id)
            if kind in ("", event.kind) and annotator in ("", event.annotator)
        ]
        shown = log[:MAX_EVENTS]
        ids = {event.item_id for event in shown}
        known = {item_id: queries.item_of(read_row(store, item_id)) for item_id in ids}
        return pages.get_template("events.html").render(
            csrf=request.scope["session"].csrf,
            role=request.scope["session"].role,
            rows=event_rows(shown, known),
            total=len(log),
            reasons=skip_reasons(log),
            kinds=KINDS,
            kind=kind,
            annotator=annotator,
            names=sorted({event.annotator for event in log}),
        )


def skip_reasons(log: Sequence[LoggedEvent]) -> list[tuple[str, int]]:
    """(reason, number of skips that were not undone), most frequent first."""
    undone = {event.undoes for event in log}
    counts: dict[str, int] = {}
    for event in log:
        if event.kind == SKIP and event.id not in undone:
            reason = str(event.payload.get("reason", ""))
            counts[reason] = counts.get(reason, 0) + 1
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))
