"""The overview page of researchers and administrators: statistics, invites, exports."""

import threading
import time
from collections.abc import Mapping

import jinja2
import sqlalchemy as sa
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, Response

from rlhf.labels import access, people
from rlhf.labels.consensus import MAJORITY, MEAN_RANK
from rlhf.labels.consensus_rows import ConsensusOptions
from rlhf.labels.dataset_card import dataset_card
from rlhf.labels.export import AGREED_KINDS, KINDS, rows_of
from rlhf.labels.formats import BYTE_ORDER_MARK, as_csv, as_jsonl, as_parquet, file_name
from rlhf.labels.label_rows import ExportedRows
from rlhf.labels.queries import is_free
from rlhf.labels.queue import Queue
from rlhf.labels.records import normalized_name
from rlhf.labels.review.history import Histories
from rlhf.labels.roles import ROLES
from rlhf.labels.schema import items
from rlhf.labels.stats import StoreStats, label_stats
from rlhf.labels.store import LabelStore
from rlhf.labels.web.admin_audit import add_audit_page
from rlhf.labels.web.admin_events import add_event_page
from rlhf.labels.web.admin_guideline import add_guideline_page
from rlhf.labels.web.admin_item import add_item_page
from rlhf.labels.web.admin_items import add_item_list
from rlhf.labels.web.admin_models import add_models_page
from rlhf.labels.web.admin_people import add_people_page
from rlhf.labels.web.config import WebConfig
from rlhf.labels.web.pictures import Pictures
from rlhf.labels.web.request_schemas import InviteRequest

STATS_SECONDS = 10.0  # the statistics are not computed more often
CONSENSUS = (MAJORITY, MEAN_RANK)  # the other methods take longer, while annotators wait
STATS_SHARE = 0.05  # of the time they may take, since annotators wait meanwhile
MEDIA_TYPES = {
    "jsonl": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "md": "text/markdown; charset=utf-8",  # the dataset card
}


class StatsCache:
    """The store's statistics, recomputed after STATS_SECONDS, or later if that takes long."""

    def __init__(self, store: LabelStore) -> None:
        self._store, self._lock = store, threading.Lock()
        self._computed: StoreStats | None = None
        self._next = 0.0

    def get(self) -> StoreStats:
        """The cached statistics, or new ones."""
        with self._lock:
            start = time.monotonic()
            if self._computed is None or start >= self._next:
                self._computed = label_stats(self._store)
                now = time.monotonic()
                self._next = now + max(STATS_SECONDS, (now - start) / STATS_SHARE)
            return self._computed


def add_admin(
    app: FastAPI,
    queue: Queue,
    config: WebConfig,
    pages: jinja2.Environment,
    histories: Histories,
) -> None:
    """Add the routes below /admin, for researchers and administrators."""
    cache = StatsCache(queue.store)
    _add_overview(app, queue, config, pages, cache)
    _add_exports(app, queue.store)
    add_item_list(app, queue, config, pages, histories)
    add_item_page(app, queue, pages, histories, Pictures(config.pictures, config.base))
    add_event_page(app, queue.store, pages, histories)
    add_people_page(app, queue, pages, histories, lambda: cache.get().annotators)
    add_guideline_page(app, queue.store, pages)
    add_models_page(app, queue.store, pages)
    add_audit_page(app, queue.store, pages)


def _add_overview(
    app: FastAPI, queue: Queue, config: WebConfig, pages: jinja2.Environment, cache: StatsCache
) -> None:
    store = queue.store

    @app.get("/admin", response_class=HTMLResponse)
    def page(request: Request) -> str:
        with store.read() as connection:
            left = places_left(connection, queue.config.overlap)
        return pages.get_template("admin.html").render(
            csrf=request.scope["session"].csrf,
            role=request.scope["session"].role,
            stats=cache.get(),
            places_left=left,
            overlap=queue.config.overlap,
            names=access.names(store),
            kinds=list(KINDS),
            agreed_kinds=AGREED_KINDS,
            consensus=CONSENSUS,
            can_finish=config.finish is not None,
            roles=ROLES,
        )

    @app.post("/admin/invite")
    def invite(body: InviteRequest) -> Mapping[str, str]:
        with store.write() as connection:
            token = access.set_link(connection, body.name)
            people.update_person(
                connection,
                normalized_name(body.name),
                role=body.role,
                cap=body.cap,
                tags=body.tags,
            )
        return {"name": body.name, "token": token}

    @app.post("/admin/finish")
    def finish() -> Mapping[str, bool]:
        if config.finish is None:
            raise HTTPException(404, "no run waits for these labels")
        config.finish.set()
        return {"finished": True}


def _add_exports(app: FastAPI, store: LabelStore) -> None:
    @app.get("/admin/export/{kind}")
    def export(kind: str, format: str = "jsonl", consensus: str = "") -> Response:
        if kind not in KINDS or format not in MEDIA_TYPES:
            raise HTTPException(404, f"exports are {', '.join(KINDS)} as {', '.join(MEDIA_TYPES)}")
        if consensus and (consensus not in CONSENSUS or kind not in AGREED_KINDS):
            raise HTTPException(
                404, f"{', '.join(AGREED_KINDS)} have a consensus by {', '.join(CONSENSUS)}"
            )
        options = ConsensusOptions(method=consensus) if consensus else None
        content = _file_content(store, kind, rows_of(store, kind, options), format, consensus)
        name = file_name(f"{kind}-{consensus}" if consensus else kind, f".{format}")
        attachment = {"content-disposition": f'attachment; filename="{name}"'}
        return Response(content, media_type=MEDIA_TYPES[format], headers=attachment)


def _file_content(
    store: LabelStore, kind: str, exported: ExportedRows, format: str, consensus: str
) -> str | bytes:
    if format == "parquet":
        return as_parquet(exported.rows)
    if format == "md":
        return dataset_card(store, kind, exported.rows, exported.left_out, consensus=consensus)
    if format == "csv":
        return BYTE_ORDER_MARK + as_csv(exported.rows)
    return as_jsonl(exported.rows)


def places_left(connection: sa.Connection, overlap: int) -> int:
    """Number of labels that open items still need."""
    left = sa.func.coalesce(sa.func.sum(overlap + items.c.extra - items.c.taken), 0)
    return int(connection.scalar(sa.select(left).where(is_free(overlap))) or 0)
