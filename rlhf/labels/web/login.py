"""The login page: a link's token, or the identity provider, opens one store or several."""

from collections.abc import Sequence
from dataclasses import dataclass

import jinja2
import sqlalchemy as sa
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from rlhf.labels import access
from rlhf.labels.audit import record
from rlhf.labels.people import update_person
from rlhf.labels.schema import people
from rlhf.labels.store import LabelStore
from rlhf.labels.web.config import WebConfig
from rlhf.labels.web.guard import HOME
from rlhf.labels.web.oidc import CALLBACK, STATE_SECONDS, OidcLogin, OidcUser
from rlhf.labels.web.request_schemas import LoginRequest
from rlhf.web.guard import Rejected
from rlhf.web.rate_limit import RateLimit

MAX_FAILED_LOGINS, LOGIN_SECONDS = 10, 60.0  # per address and time window
STATE_COOKIE, STATE_PATH = "rlhf_oidc_state", "/oidc/"
OIDC_SECONDS = 12 * 3600  # shorter than with a link: the provider may end a person's access


@dataclass(frozen=True, kw_only=True)
class LoginSite:
    """A store that a login opens, and its pages."""

    store: LabelStore
    config: WebConfig


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A session that a login began."""

    site: LoginSite
    cookie: str
    session: access.WebSession


def add_login(
    app: FastAPI, sites: Sequence[LoginSite], config: WebConfig, pages: jinja2.Environment
) -> None:
    """Add the routes of the login page, which opens those of the sites that know the person."""
    rate_limit = RateLimit(MAX_FAILED_LOGINS, LOGIN_SECONDS)

    @app.get("/login", response_class=HTMLResponse)
    def login_page(request: Request) -> str:
        session = request.scope["session"]
        user = "" if session is None else session.annotator or "the administrator"
        return login_html(pages, config, user=user)

    @app.post("/login")
    def login(request: Request, body: LoginRequest) -> Response:
        address = request.client.host if request.client else ""
        if rate_limit.is_exceeded(address):
            raise HTTPException(429, "too many failed logins; wait a minute")
        opened = [one for site in sites if (one := by_token(site, body.token)) is not None]
        if not opened:
            rate_limit.count(address)
            raise HTTPException(401, "this link is invalid, or a newer one has replaced it")
        response = JSONResponse({"to": home_of(opened)})
        set_cookies(response, opened, access.SESSION_SECONDS)
        return response


def add_oidc(
    app: FastAPI, sites: Sequence[LoginSite], config: WebConfig, pages: jinja2.Environment
) -> None:
    """Add the routes of the identity provider; without one they return 404."""

    @app.get("/oidc/login")
    async def begin() -> Response:
        state, address = await _required(config.oidc).begin()
        response = RedirectResponse(address, 303)
        # Lax: the provider's redirect comes from another site, which gets no strict cookie.
        response.set_cookie(
            STATE_COOKIE,
            state,
            max_age=int(STATE_SECONDS),
            path=STATE_PATH,
            httponly=True,
            samesite="lax",
            secure=config.https,
        )
        return response

    @app.get(CALLBACK, response_class=HTMLResponse)
    async def finish(request: Request) -> Response:
        oidc = _required(config.oidc)
        try:
            user = await oidc.finish(request.query_params, request.cookies.get(STATE_COOKIE, ""))
            opened = await run_in_threadpool(by_provider, sites, user)
        except Rejected as error:
            return HTMLResponse(login_html(pages, config, problem=str(error)), error.status)
        # A page, not a redirect: after one from another site the browser sends no strict cookie.
        html = pages.get_template("logged_in.html").render(home=home_of(opened))
        response = HTMLResponse(html)
        set_cookies(response, opened, OIDC_SECONDS)
        response.delete_cookie(STATE_COOKIE, path=STATE_PATH)
        return response


def by_token(site: LoginSite, token: str, *, action: str = "POST /login") -> Opened | None:
    """A session for the token of a link; None if the store has no such link.

    action: of the entry in the audit.
    """
    found = access.log_in(site.store, token, action=action)
    if found is None:
        return None
    cookie, session = found
    return Opened(site=site, cookie=cookie, session=session)


def by_provider(sites: Sequence[LoginSite], user: OidcUser) -> list[Opened]:
    """A session in each store that has the person; one with a role claim is added first.

    Raises:
        Rejected: no store has this person, or their access was ended.
        DataError: a name that cannot be shown or typed.
    """
    opened = [one for site in sites if (one := _admit(site, user)) is not None]
    if not opened:
        raise Rejected(403, f"{user.name} has no access; ask an administrator of the project")
    return opened


def _admit(site: LoginSite, user: OidcUser) -> Opened | None:
    with site.store.write() as connection:
        if user.role is not None:
            known = sa.select(people.c.name).where(people.c.name == user.name)
            if connection.scalar(known) is None:
                access.set_link(connection, user.name)  # the link is thrown away
            update_person(connection, user.name, role=user.role)
        role = access.role_of(connection, user.name)
        if role is None:
            return None
        record(connection, who=user.name, role=role, action=f"GET {CALLBACK}")
        cookie, session = access.start_session(connection, user.name, role, OIDC_SECONDS)
    return Opened(site=site, cookie=cookie, session=session)


def login_html(
    pages: jinja2.Environment, config: WebConfig, *, user: str = "", problem: str = ""
) -> str:
    """The login page."""
    provider = "" if config.oidc is None else config.oidc.provider
    return pages.get_template("login.html").render(user=user, provider=provider, problem=problem)


def home_of(opened: Sequence[Opened]) -> str:
    """Where a login leads: to the person's page, or to the list of their projects."""
    if len(opened) > 1:
        return "/"
    return opened[0].site.config.base + HOME[opened[0].session.role]


def set_cookies(response: Response, opened: Sequence[Opened], seconds: int) -> None:
    """Let the browser send the cookies of the sessions, only from this site's own pages."""
    for one in opened:
        config = one.site.config
        response.set_cookie(
            config.cookie,
            one.cookie,
            max_age=seconds,
            httponly=True,
            samesite="strict",
            secure=config.https,
        )


def _required(oidc: OidcLogin | None) -> OidcLogin:
    if oidc is None:
        raise HTTPException(404, "this server has no identity provider")
    return oidc
