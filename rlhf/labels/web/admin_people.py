"""The page of people: live progress, and what is set for each person."""

import time
from collections.abc import Callable, Mapping, Sequence

import jinja2
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

from rlhf.labels import people
from rlhf.labels.annotator_stats import AnnotatorStats
from rlhf.labels.queue import Queue
from rlhf.labels.records import normalized_name
from rlhf.labels.review.history import Histories
from rlhf.labels.review.progress import progress_of
from rlhf.labels.roles import ROLES
from rlhf.labels.web.request_schemas import AccessRequest, PersonRequest

OBSTACLES = {
    "": "",
    "paused": "paused",
    "cap": "cap reached",
    "failed": "not qualified",
    "role": "",  # the row names it
}


def add_people_page(
    app: FastAPI,
    queue: Queue,
    pages: jinja2.Environment,
    histories: Histories,
    stats: Callable[[], Sequence[AnnotatorStats]],
) -> None:
    """Add the routes of people.

    stats: returns agreement and gold accuracy of each annotator.
    """
    store = queue.store

    @app.get("/admin/people", response_class=HTMLResponse)
    def page(request: Request) -> str:
        progress = progress_of(store, histories.get(), stats(), queue.config, now=time.time())
        with store.read() as connection:
            halted = people.is_paused(connection)
        return pages.get_template("people.html").render(
            csrf=request.scope["session"].csrf,
            role=request.scope["session"].role,
            progress=progress,
            halted=halted,
            obstacles=OBSTACLES,
            roles=ROLES,
            duration=duration,
            ago=lambda at: "–" if at is None else f"{duration(time.time() - at)} ago",
        )

    @app.post("/admin/people")
    def change(body: PersonRequest) -> Mapping[str, bool]:
        name = normalized_name(body.name)
        with store.write() as connection:
            if body.everyone_paused is not None:
                people.pause_everyone(connection, body.everyone_paused)
            else:
                people.update_person(
                    connection,
                    name,
                    paused=body.paused,
                    cap=body.cap,
                    no_cap=body.no_cap,
                    tags=body.tags,
                )
        return {"done": True}

    @app.post("/admin/access")
    def change_access(body: AccessRequest) -> Mapping[str, bool]:
        name = normalized_name(body.name)
        with store.write() as connection:
            if body.revoke:
                people.revoke(connection, name)
            else:
                people.update_person(connection, name, role=body.role)
        return {"done": True}


def duration(seconds: float) -> str:
    """A time as the page shows it: 40 s, 12 min, 3.5 h, 4 days."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86_400:.0f} days"
