"""Sessions, roles and CSRF tokens of the label page, on top of the shared request guard.

A route that is not listed here requires an annotator's session: access is denied by default.
"""

import hmac
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Scope

from rlhf.labels.access import session_of
from rlhf.labels.store import LabelStore
from rlhf.web.guard import Rejected, RequestGuard, RequestHeaders, is_unsafe

COOKIE = "rlhf_label"
# A path that ends with a slash stands for everything below it.
PUBLIC_PATHS = ("/login", "/static/", "/health")
ADMIN_PATHS = ("/admin", "/admin/")
SHARED_PATHS = ("/", "/logout")  # for the administrator and annotators


def guard_label_app(app: ASGIApp, store: LabelStore, hosts: Collection[str]) -> ASGIApp:
    """The app behind all checks; `scope["session"]` holds the request's session or None."""

    async def authorize(scope: Scope, headers: RequestHeaders) -> None:
        cookie = _session_cookie(headers.get("cookie", b"").decode("latin-1"))
        session = await run_in_threadpool(session_of, store, cookie) if cookie else None
        scope["session"] = session
        if _matches(scope["path"], PUBLIC_PATHS):
            return
        if session is None:
            raise Rejected(401, "log in first")
        token = headers.get("x-csrf-token", b"").decode("latin-1")
        if is_unsafe(scope) and not hmac.compare_digest(token.encode(), session.csrf.encode()):
            raise Rejected(403, "the page is out of date; reload it")
        is_admin_path = _matches(scope["path"], ADMIN_PATHS)
        if session.is_admin != is_admin_path and scope["path"] not in SHARED_PATHS:
            raise Rejected(403, "your account has no access to this page")

    return RequestGuard(
        app, hosts, authorize=authorize, error_response=_error_response, origin_required=True
    )


def _error_response(scope: Scope, rejected: Rejected) -> Response:
    if rejected.status == 401 and not is_unsafe(scope) and scope["path"] in SHARED_PATHS:
        return RedirectResponse("/login", 303)
    return JSONResponse({"detail": str(rejected)}, rejected.status)


def _matches(path: str, patterns: Collection[str]) -> bool:
    return any(path.startswith(p) if p.endswith("/") else path == p for p in patterns)


def _session_cookie(header: str) -> str:
    try:
        morsel = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel is not None else ""
