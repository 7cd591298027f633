"""Sessions, roles and CSRF tokens of the label page, on top of the shared request guard."""

import hmac
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Scope

from rlhf.labels.access import WebSession, csrf_secret, session_by_name, session_of
from rlhf.labels.schema import ADJUDICATOR, ADMIN, ANNOTATOR, RESEARCHER
from rlhf.labels.store import LabelStore
from rlhf.labels.web.permissions import PUBLIC, roles_of
from rlhf.labels.web.proxy_login import ProxyLogin
from rlhf.web.guard import Rejected, RequestGuard, RequestHeaders, is_unsafe

COOKIE = "rlhf_label"
STATIC = "/static/"
HOME = {ANNOTATOR: "/", ADJUDICATOR: "/adjudicate", RESEARCHER: "/admin", ADMIN: "/admin"}


def guard_label_app(
    app: ASGIApp, store: LabelStore, hosts: Collection[str], proxy: ProxyLogin | None = None
) -> ASGIApp:
    """The app behind all checks; `scope["session"]` holds the request's session or None."""
    secret = csrf_secret(store) if proxy else ""

    def user_session(scope: Scope, headers: RequestHeaders) -> WebSession | None:
        user = proxy.user_of(scope) if proxy else None
        if user is not None:
            session = session_by_name(store, user, secret)
            if session is None:
                raise Rejected(403, f"{user} has no access; ask an administrator of the project")
            return session
        cookie = _session_cookie(headers.get("cookie", b"").decode("latin-1"))
        return session_of(store, cookie) if cookie else None

    async def authorize(scope: Scope, headers: RequestHeaders) -> None:
        if scope["path"].startswith(STATIC):
            return
        session = await run_in_threadpool(user_session, scope, headers)
        scope["session"] = session
        roles = roles_of(scope["method"], scope["path"])
        if PUBLIC in roles:
            return
        if session is None:
            raise Rejected(401, "log in first")
        token = headers.get("x-csrf-token", b"").decode("latin-1")
        if is_unsafe(scope) and not hmac.compare_digest(token.encode(), session.csrf.encode()):
            raise Rejected(403, "the page is out of date; reload it")
        if not roles:
            raise Rejected(404, "there is no such page")
        if session.role not in roles:
            raise Rejected(403, f"this page is not for the role {session.role}")

    return RequestGuard(
        app, hosts, authorize=authorize, error_response=_error_response, origin_required=True
    )


def set_session_cookie(response: Response, cookie: str, seconds: int, *, https: bool) -> None:
    """Let the browser send the cookie of a session, only from this site's own pages."""
    response.set_cookie(
        COOKIE, cookie, max_age=seconds, httponly=True, samesite="strict", secure=https
    )


def _error_response(scope: Scope, rejected: Rejected) -> Response:
    if rejected.status == 401 and not is_unsafe(scope) and scope["path"] == "/":
        return RedirectResponse("/login", 303)
    return JSONResponse({"detail": str(rejected)}, rejected.status)


def _session_cookie(header: str) -> str:
    try:
        morsel = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel is not None else ""
