"""What every request to `rlhf serve` has to pass: host, size, origin, token. Deny by default."""

import hmac
import json
from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from rlhf.chat.web.errors import error_body
from rlhf.labels.web.guard import (
    SAFE,
    TOO_LARGE,
    Refused,
    TooLarge,
    capped,
    checked_host,
    same_origin,
    with_headers,
)

# The page's own files say nothing of anybody; the page sends the token with what it asks for.
PUBLIC = ("/", "/health")
STATIC = "/static/"


class Guard:
    """The ASGI app behind all checks. Without a token everybody who reaches it is let in."""

    def __init__(self, app: ASGIApp, hosts: Collection[str], token: str | None) -> None:
        self._app, self._token = app, token
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # no WebSocket is spoken here, and nothing is done at start or end
        try:
            self._check(scope)
            await self._app(scope, capped(receive), with_headers(scope, send))
        except Refused as refused:
            await _refuse(scope, send, refused.status, str(refused))
        except TooLarge:
            await _refuse(scope, send, 413, TOO_LARGE)

    def _check(self, scope: Scope) -> None:
        headers = {key.decode("latin-1"): value for key, value in scope["headers"]}
        host = checked_host(headers, self._hosts)
        # Browsers say which site asks; programs, which no site can make send anything, do not.
        origin = headers.get("origin", b"").decode("latin-1")
        if scope["method"] not in SAFE and origin and not same_origin(origin, host):
            raise Refused(403, "the request comes from another site")
        path = scope["path"]
        if path in PUBLIC or path.startswith(STATIC) or self._token is None:
            return
        scheme, _, sent = headers.get("authorization", b"").partition(b" ")
        right = hmac.compare_digest(sent.strip(), self._token.encode())
        if scheme.lower() != b"bearer" or not right:
            raise Refused(401, "no or a wrong token; send it as `Authorization: Bearer TOKEN`")


async def _refuse(scope: Scope, send: Send, status: int, message: str) -> None:
    code = "invalid_api_key" if status == 401 else None
    body = json.dumps(error_body(status, message, code=code)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    start = {"type": "http.response.start", "status": status, "headers": headers}
    await with_headers(scope, send)(start)
    await send({"type": "http.response.body", "body": body})
