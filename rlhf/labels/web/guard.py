"""Sessions, roles and CSRF tokens of the label page, on top of the shared request guard."""

import hmac
from collections.abc import Callable
from functools import partial
from http.cookies import CookieError, SimpleCookie

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Scope

from rlhf.labels.access import WebSession, csrf_secret, session_by_name, session_of
from rlhf.labels.roles import ADJUDICATOR, ADMIN, ANNOTATOR, RESEARCHER
from rlhf.labels.store import LabelStore
from rlhf.labels.web.config import WebConfig
from rlhf.labels.web.permissions import PUBLIC, roles_of
from rlhf.web.guard import Rejected, RequestGuard, RequestHeaders, is_unsafe

STATIC = "/static/"
HOME = {ANNOTATOR: "/", ADJUDICATOR: "/adjudicate", RESEARCHER: "/admin", ADMIN: "/admin"}


def guard_label_app(app: ASGIApp, store: LabelStore, config: WebConfig) -> ASGIApp:
    """The app behind all checks; `scope["session"]` holds the request's session or None."""
    find_session = session_finder(store, config)

    async def authorize(scope: Scope, headers: RequestHeaders) -> None:
        if scope["path"].startswith(STATIC):
            return
        session = await run_in_threadpool(find_session, scope, headers)
        scope["session"] = session
        roles = roles_of(scope["method"], scope["path"])
        if PUBLIC in roles:
            return
        if session is None and (user := config.proxy_user_of(scope)) is not None:
            raise Rejected(403, f"{user} has no access; ask an administrator of the project")
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
        app,
        config.hosts,
        authorize=authorize,
        error_response=partial(error_response, config.base),
        origin_required=True,
    )


def session_finder(
    store: LabelStore, config: WebConfig
) -> Callable[[Scope, RequestHeaders], WebSession | None]:
    """A function from a request to the session in this store, by the proxy's user or a cookie."""
    secret = csrf_secret(store) if config.proxy else ""

    def find_session(scope: Scope, headers: RequestHeaders) -> WebSession | None:
        user = config.proxy_user_of(scope)
        if user is not None:
            return session_by_name(store, user, secret)
        cookie = _cookie(headers.get("cookie", b"").decode("latin-1"), config.cookie)
        return session_of(store, cookie) if cookie else None

    return find_session


def error_response(base: str, scope: Scope, rejected: Rejected) -> Response:
    """The answer to a rejected request of the pages below the path `base`."""
    if rejected.status == 401 and not is_unsafe(scope) and scope["path"] == "/":
        return RedirectResponse(f"{base}/login", 303)
    return JSONResponse({"detail": str(rejected)}, rejected.status)


def _cookie(header: str, name: str) -> str:
    try:
        morsel = SimpleCookie(header).get(name)
    except CookieError:
        return ""
    return morsel.value if morsel is not None else ""
