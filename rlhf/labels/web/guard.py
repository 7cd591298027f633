"""What every request has to pass: host, size, origin, session, role, CSRF token. Deny by default.

This is a plain ASGI wrapper around the whole app, so that a route which somebody adds is closed
until it is named here.
"""

import hmac
import json
from collections.abc import Collection, Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rlhf.labels.access import Session, session_of
from rlhf.labels.store import LabelStore

COOKIE = "rlhf_label"
MAX_BODY = 1 << 20
TOO_LARGE = f"the body has more than {MAX_BODY} bytes"
SAFE = ("GET", "HEAD")
PUBLIC = ("/login", "/static/", "/health")  # exact, or below where it ends with a slash
ADMIN = ("/admin", "/admin/")
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Refused(Exception):
    """A request that goes no further: status and what to say."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class TooLarge(Exception):
    """More bytes came than were announced or are allowed."""


class Guard:
    """The ASGI app behind all checks; `scope["session"]` holds who asks."""

    def __init__(self, app: ASGIApp, store: LabelStore, hosts: Collection[str]) -> None:
        self._app, self._store = app, store
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no WebSocket is spoken here
        try:
            scope["session"] = await self._check(scope)
            await self._app(scope, capped(receive), with_headers(scope, send))
        except Refused as refused:
            await _refuse(scope, send, refused)
        except TooLarge:
            await _refuse(scope, send, Refused(413, TOO_LARGE))

    async def _check(self, scope: Scope) -> Session | None:
        headers = {key.decode("latin-1"): value for key, value in scope["headers"]}
        host = checked_host(headers, self._hosts)
        unsafe = scope["method"] not in SAFE
        if unsafe and not same_origin(headers.get("origin", b"").decode("latin-1"), host):
            raise Refused(403, "the request comes from another site")
        cookie = _cookie(headers.get("cookie", b"").decode("latin-1"))
        session = await run_in_threadpool(session_of, self._store, cookie) if cookie else None
        if _under(scope["path"], PUBLIC):
            return session
        if session is None:
            raise Refused(401, "log in first")
        sent = headers.get("x-csrf-token", b"").decode("latin-1")
        if unsafe and not hmac.compare_digest(sent.encode(), session.csrf.encode()):
            raise Refused(403, "the page is out of date; reload it")
        if session.is_admin != _under(scope["path"], ADMIN) and scope["path"] not in BOTH:
            raise Refused(403, "this page is for somebody else")
        return session


BOTH = ("/", "/logout")  # paths that the researcher and annotators share


def _under(path: str, places: Collection[str]) -> bool:
    return any(path.startswith(place) if place.endswith("/") else path == place for place in places)


def checked_host(headers: Mapping[str, bytes], hosts: Collection[str]) -> str:
    """The host that a request asks for, in small letters.

    A name that somebody else's DNS points here would make this machine's page theirs.

    Raises:
        Refused: none of `hosts`, or a body of a length that is too large or no number.
    """
    host = headers.get("host", b"").decode("latin-1").lower()
    if name_of(host) not in hosts:
        raise Refused(421, "unknown host; the server's --allowed_hosts names those it serves")
    length = headers.get("content-length", b"0")
    if not length.isdigit() or int(length) > MAX_BODY:
        raise Refused(413, TOO_LARGE)
    return host


def name_of(host: str) -> str:
    """The host without its port."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def same_origin(origin: str, host: str) -> bool:
    """Whether a request's Origin header is this host's."""
    try:
        parts = urlsplit(origin if origin.isascii() else "")
    except ValueError:  # a bracket that is not closed
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host


def _cookie(header: str) -> str:
    try:
        morsel = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel is not None else ""


def capped(receive: Receive) -> Receive:
    """`receive` that raises `TooLarge` where a body goes beyond MAX_BODY."""
    taken = 0

    async def receive_some() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > MAX_BODY:
            raise TooLarge
        return message

    return receive_some


def with_headers(scope: Scope, send: Send) -> Send:
    """`send` that puts HEADERS on the response; what is not a static file is not stored."""

    async def send_with(message: Message) -> None:
        if message["type"] == "http.response.start":
            extra = dict(HEADERS)
            if not scope["path"].startswith("/static/"):
                extra["cache-control"] = "no-store"
            message["headers"] = [
                *message.get("headers", []),
                *((key.encode(), value.encode()) for key, value in extra.items()),
            ]
        await send(message)

    return send_with


async def _refuse(scope: Scope, send: Send, refused: Refused) -> None:
    to_login = refused.status == 401 and scope["method"] in SAFE and scope["path"] in BOTH
    body = b"" if to_login else json.dumps({"detail": str(refused)}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if to_login:
        headers.append((b"location", b"/login"))
    start = {
        "type": "http.response.start",
        "status": 303 if to_login else refused.status,
        "headers": headers,
    }
    await with_headers(scope, send)(start)
    await send({"type": "http.response.body", "body": body})
