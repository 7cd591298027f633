"""The researcher's page: how the labels stand, who is invited, what to take away."""

import threading
import time
from collections.abc import Mapping
from typing import Annotated

import jinja2
import sqlalchemy as sa
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from rlhf.labels import access
from rlhf.labels.export import KINDS, rows_of
from rlhf.labels.formats import as_csv, as_jsonl, as_parquet, card, file_name
from rlhf.labels.queue import Queue
from rlhf.labels.schema import OPEN, items
from rlhf.labels.stats import StoreStats, label_stats
from rlhf.labels.store import LabelStore
from rlhf.labels.web.config import WebConfig

STATS_SECONDS = 10.0  # the page is not worked out anew more often
TYPES = {
    "jsonl": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "md": "text/markdown; charset=utf-8",  # the dataset card of any of them
}


class Invite(BaseModel):
    """Who is to get a link."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: Annotated[str, Field(min_length=1, max_length=access.LONGEST_NAME)]


class Recent:
    """The store's statistics, not older than STATS_SECONDS."""

    def __init__(self, store: LabelStore) -> None:
        self._store, self._lock = store, threading.Lock()
        self._made: tuple[float, StoreStats] | None = None

    def get(self) -> StoreStats:
        """Statistics of now, or of a moment ago."""
        with self._lock:
            if self._made is None or time.monotonic() - self._made[0] > STATS_SECONDS:
                self._made = (time.monotonic(), label_stats(self._store))
            return self._made[1]


def add_admin(app: FastAPI, queue: Queue, config: WebConfig, pages: jinja2.Environment) -> None:
    """Routes below /admin; the guard lets the researcher alone in."""
    store, recent = queue.store, Recent(queue.store)

    @app.get("/admin", response_class=HTMLResponse)
    def page(request: Request) -> str:
        return pages.get_template("admin.html").render(
            csrf=request.scope["session"].csrf,
            stats=recent.get(),
            places_left=places_left(store, queue.config.overlap),
            overlap=queue.config.overlap,
            names=access.names(store),
            kinds=list(KINDS),
            finishes=config.finish is not None,
        )

    @app.post("/admin/invite")
    def invite(body: Invite) -> Mapping[str, str]:
        return {"name": body.name, "token": access.invite(store, body.name)}

    @app.post("/admin/finish")
    def finish() -> Mapping[str, bool]:
        if config.finish is None:
            raise HTTPException(404, "nothing waits for these labels")
        config.finish.set()
        return {"finished": True}

    @app.get("/admin/export/{kind}")
    def take(kind: str, format: str = "jsonl") -> Response:
        if kind not in KINDS or format not in TYPES:
            raise HTTPException(404, f"exports are {', '.join(KINDS)} as {', '.join(TYPES)}")
        made = rows_of(store, kind)
        content: str | bytes
        if format == "parquet":
            content = as_parquet(made.rows)
        elif format == "md":
            content = card(kind, made.rows, made.left_out)
        else:
            content = as_csv(made.rows) if format == "csv" else as_jsonl(made.rows)
        name = file_name(kind, f".{format}")
        attachment = {"content-disposition": f'attachment; filename="{name}"'}
        return Response(content, media_type=TYPES[format], headers=attachment)


def places_left(store: LabelStore, overlap: int) -> int:
    """Labels that the queue still asks for."""
    left = sa.func.coalesce(sa.func.sum(overlap - items.c.taken), 0)
    query = sa.select(left).where(items.c.queue == OPEN, items.c.taken < overlap)
    with store.read() as connection:
        return int(connection.scalar(query) or 0)
