"""The server's entries of the audit: what researchers, adjudicators and programs see and change.

An entry is on disk before its answer is sent. Routes of annotators are not recorded here: claims
and events tell what they saw and did, and the next item comes as fast as without an audit.
"""

import json
import threading
import time
from collections.abc import Callable
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rlhf.labels.audit import record
from rlhf.labels.roles import ANNOTATOR
from rlhf.labels.store import LabelStore
from rlhf.labels.web.permissions import PUBLIC, roles_of

VIEW_SECONDS = 600.0  # the same view again within this time is no new entry: pages renew themselves
MAX_VIEWS = 10_000


def is_audited(method: str, path: str) -> bool:
    """Whether the requests of a route are recorded."""
    roles = roles_of(method, path)
    return bool(roles) and PUBLIC not in roles and ANNOTATOR not in roles


class Views:
    """The views of the last VIEW_SECONDS."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._recorded: dict[str, float] = {}

    def is_new(self, view: str) -> bool:
        """Whether the view was not recorded within VIEW_SECONDS; if so, it counts as recorded."""
        now = self._clock()
        with self._lock:
            if now - self._recorded.get(view, -VIEW_SECONDS) < VIEW_SECONDS:
                return False
            if len(self._recorded) >= MAX_VIEWS:
                self._recorded.clear()  # some views are then recorded earlier
            self._recorded[view] = now
            return True


class AuditMiddleware:
    """Records each request of an audited route whose answer is no error.

    `scope["session"]` has the user's name and role. A route may set `scope["audit"]["item_id"]`,
    the item that it showed or changed; its other keys are added to the details.
    """

    def __init__(self, app: ASGIApp, store: LabelStore) -> None:
        self._app, self._store, self._views = app, store, Views()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_audited(scope["method"], scope["path"]):
            await self._app(scope, receive, send)
            return
        scope["audit"] = {}
        body = bytearray()

        async def receive_body() -> Message:
            message = await receive()
            body.extend(message.get("body", b""))
            return message

        async def send_recorded(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 400:
                await run_in_threadpool(self._record, scope, bytes(body))
            await send(message)

        await self._app(scope, receive_body, send_recorded)

    def _record(self, scope: Scope, body: bytes) -> None:
        user, action = scope["session"], f"{scope['method']} {scope['path']}"
        details = _sent(scope, body) | scope["audit"]
        item_id = scope["audit"].get("item_id")
        if scope["method"] == "GET":
            view = json.dumps([user.name, action, details])
            if not self._views.is_new(view):
                return
        with self._store.write() as connection:
            record(
                connection,
                who=user.name,
                role=user.role,
                action=action,
                item_id=item_id,
                details={name: value for name, value in details.items() if name != "item_id"},
            )


def _sent(scope: Scope, body: bytes) -> dict[str, object]:
    """The fields of the query or of the body."""
    if scope["method"] == "GET":
        return dict(parse_qsl(scope["query_string"].decode("latin-1")))
    # PostgreSQL stores no NaN in JSON.
    sent = json.loads(body, parse_constant=str) if body else {}
    return sent if isinstance(sent, dict) else {}
