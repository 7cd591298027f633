"""Checks that every request to a server of this package passes before a route sees it.

`RequestGuard` wraps the whole ASGI app, so a new route is protected without further work. What is
particular to one server (sessions, tokens, the form of an error) comes in as two functions.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 1 << 20
TOO_LARGE = f"the body has more than {MAX_BODY} bytes"
SAFE_METHODS = ("GET", "HEAD")
RESPONSE_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}

RequestHeaders = Mapping[str, bytes]
"""Lower-case name -> value; of a repeated header the last value."""


class Rejected(Exception):
    """A request that fails a check, with the status of its response."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class BodyTooLarge(Exception):
    """A request's body exceeds MAX_BODY, whatever length it announced."""


class RequestGuard:
    """An ASGI app behind checks of host, body size, origin and authorization."""

    def __init__(
        self,
        app: ASGIApp,
        hosts: Collection[str],
        *,
        authorize: Callable[[Scope, RequestHeaders], Awaitable[None]],
        error_response: Callable[[Scope, Rejected], Response],
        origin_required: bool,
        origins: Collection[str] = (),
    ) -> None:
        """Wrap `app`.

        Args:
            app: the app to protect.
            hosts: host names, without port, that requests may name.
            authorize: the server's own check, after all others; raises `Rejected`.
            error_response: the response to a rejected request.
            origin_required: whether an unsafe request without an Origin header is rejected.
                Browsers always send one; other programs do not.
            origins: origins of other sites whose requests are accepted; `*` accepts all.
        """
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._authorize, self._error_response = authorize, error_response
        self._origin_required = origin_required
        self._origins = frozenset(origin.lower() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no server of this package uses WebSockets
        send = _with_response_headers(scope, send)
        try:
            await self._check(scope)
            await self._app(scope, _limit_body(receive), send)
        except Rejected as rejected:
            await self._error_response(scope, rejected)(scope, receive, send)
        except BodyTooLarge:
            response = self._error_response(scope, Rejected(413, TOO_LARGE))
            await response(scope, receive, send)

    async def _check(self, scope: Scope) -> None:
        headers = {key.decode("latin-1"): value for key, value in scope["headers"]}
        host = _checked_host(headers, self._hosts)
        if is_unsafe(scope):
            origin = headers.get("origin", b"").decode("latin-1")
            known = "*" in self._origins or origin.lower() in self._origins
            required = origin or self._origin_required
            if required and not known and not _is_same_origin(origin, host):
                raise Rejected(403, "the request comes from another site")
        await self._authorize(scope, headers)


def is_unsafe(scope: Scope) -> bool:
    """Whether the request's method may change something on the server."""
    return scope["method"] not in SAFE_METHODS


def _checked_host(headers: RequestHeaders, hosts: Collection[str]) -> str:
    """The request's Host header in lower case.

    Without this check another site could point its DNS name at this machine and read the page
    (DNS rebinding).

    Raises:
        Rejected: the host is not in `hosts`, or the announced length is too large or not a number.
    """
    host = headers.get("host", b"").decode("latin-1").lower()
    if _without_port(host) not in hosts:
        raise Rejected(421, "unknown host; add it to the server's --allowed_hosts")
    length = headers.get("content-length", b"0")
    if not length.isdigit() or int(length) > MAX_BODY:
        raise Rejected(413, TOO_LARGE)
    return host


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def _is_same_origin(origin: str, host: str) -> bool:
    """Whether an Origin header names this host."""
    try:
        parts = urlsplit(origin if origin.isascii() else "")
    except ValueError:  # an unclosed bracket
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host


def _limit_body(receive: Receive) -> Receive:
    """`receive` that raises `BodyTooLarge` once a body exceeds MAX_BODY."""
    received = 0

    async def receive_limited() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MAX_BODY:
            raise BodyTooLarge
        return message

    return receive_limited


def _with_response_headers(scope: Scope, send: Send) -> Send:
    """`send` that adds RESPONSE_HEADERS; only static files may be cached."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            extra = dict(RESPONSE_HEADERS)
            if not scope["path"].startswith("/static/"):
                extra["cache-control"] = "no-store"
            message["headers"] = [
                *message.get("headers", []),
                *((key.encode(), value.encode()) for key, value in extra.items()),
            ]
        await send(message)

    return send_with_headers
