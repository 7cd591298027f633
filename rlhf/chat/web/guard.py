"""The token check of `rlhf serve`, on top of the shared request guard."""

import hmac
from collections.abc import Collection

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Scope

from rlhf.chat.web.errors import error_body
from rlhf.web.guard import Rejected, RequestGuard, RequestHeaders

# The page's own files hold nothing private; the page sends the token with its API requests.
PUBLIC_PATHS = ("/", "/health")
STATIC = "/static/"


def guard_chat_app(
    app: ASGIApp, hosts: Collection[str], token: str | None, origins: Collection[str] = ()
) -> ASGIApp:
    """The app behind all checks. Without a token every client that reaches it has access.

    origins: pages of other sites that may send requests, as `ChatServerConfig.allowed_origins`.
    """

    async def authorize(scope: Scope, headers: RequestHeaders) -> None:
        path = scope["path"]
        if path in PUBLIC_PATHS or path.startswith(STATIC) or token is None:
            return
        scheme, _, sent = headers.get("authorization", b"").partition(b" ")
        matches = hmac.compare_digest(sent.strip(), token.encode())
        if scheme.lower() != b"bearer" or not matches:
            raise Rejected(401, "missing or wrong token; send it as `Authorization: Bearer TOKEN`")

    # API clients are not browsers: they send no Origin header, and no website can make them send
    # a request.
    return RequestGuard(
        app,
        hosts,
        authorize=authorize,
        error_response=_error_response,
        origin_required=False,
        origins=origins,
    )


def _error_response(scope: Scope, rejected: Rejected) -> Response:
    status = rejected.status
    code = "invalid_api_key" if status == 401 else None
    headers = {"www-authenticate": "Bearer"} if status == 401 else None
    return JSONResponse(error_body(status, str(rejected), code=code), status, headers)
