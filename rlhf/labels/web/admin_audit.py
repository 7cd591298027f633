"""The page of the audit, for administrators: who saw and who changed what."""

import json
import time
from typing import Annotated

import jinja2
from fastapi import FastAPI, Query, Request
from fastapi.responses import HTMLResponse, Response

from rlhf.labels.audit import AuditFilter, as_row, entries, since_days
from rlhf.labels.formats import as_jsonl
from rlhf.labels.records import normalized_name
from rlhf.labels.store import LabelStore

MAX_ENTRIES = 200  # on the page; the export has all
# PostgreSQL compares no text with a NUL.
Who = Annotated[str, Query(max_length=200, pattern="^[^\\x00]*$")]
ItemId = Annotated[str, Query(pattern="^[0-9]{0,9}$")]  # a form sends "" for no item
Days = Annotated[float, Query(ge=0, le=36_500)]  # 0: since the beginning


def add_audit_page(app: FastAPI, store: LabelStore, pages: jinja2.Environment) -> None:
    """Add the routes of the audit."""

    @app.get("/admin/audit", response_class=HTMLResponse)
    def page(request: Request, who: Who = "", item: ItemId = "", days: Days = 7) -> str:
        with store.read() as connection:
            found = list(entries(connection, _filter(who, item, days)))
        newest = found[: -MAX_ENTRIES - 1 : -1]
        return pages.get_template("audit.html").render(
            csrf=request.scope["session"].csrf,
            role=request.scope["session"].role,
            rows=[(one, json.dumps(one.details, ensure_ascii=False)) for one in newest],
            total=len(found),
            who=who,
            item=item,
            days=days,
        )

    @app.get("/admin/audit/export")
    def export(who: Who = "", item: ItemId = "", days: Days = 0) -> Response:
        with store.read() as connection:
            rows = [as_row(one) for one in entries(connection, _filter(who, item, days))]
        headers = {"content-disposition": 'attachment; filename="audit.jsonl"'}
        return Response(as_jsonl(rows), media_type="application/x-ndjson", headers=headers)


def _filter(who: str, item: str, days: float) -> AuditFilter:
    since = since_days(days, now=time.time())
    return AuditFilter(
        who=normalized_name(who.strip()), item_id=int(item) if item else None, since=since
    )
