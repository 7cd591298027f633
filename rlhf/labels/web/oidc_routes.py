"""The routes of a login by OpenID Connect; without a provider they return 404."""

import jinja2
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from rlhf.labels import access
from rlhf.labels.audit import record
from rlhf.labels.people import update_person
from rlhf.labels.store import LabelStore
from rlhf.labels.web.config import WebConfig
from rlhf.labels.web.guard import HOME, set_session_cookie
from rlhf.labels.web.oidc import CALLBACK, STATE_SECONDS, OidcLogin, OidcUser
from rlhf.web.guard import Rejected

STATE_COOKIE, STATE_PATH = "rlhf_oidc_state", "/oidc/"
SESSION_SECONDS = 12 * 3600  # shorter than with a link: the provider may end a person's access


def add_oidc(app: FastAPI, store: LabelStore, config: WebConfig, pages: jinja2.Environment) -> None:
    """Add the routes below /oidc."""

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
            cookie, session = await run_in_threadpool(admit, store, user)
        except Rejected as error:
            page = pages.get_template("login.html")
            html = page.render(user="", provider=oidc.provider, problem=str(error))
            return HTMLResponse(html, error.status)
        # A page, not a redirect: after one from another site the browser sends no strict cookie.
        html = pages.get_template("logged_in.html").render(home=HOME[session.role])
        response = HTMLResponse(html)
        set_session_cookie(response, cookie, SESSION_SECONDS, https=config.https)
        response.delete_cookie(STATE_COOKIE, path=STATE_PATH)
        return response


def admit(store: LabelStore, user: OidcUser) -> tuple[str, access.WebSession]:
    """(cookie, session) of a confirmed user; one with a role claim is added, or gets that role.

    Raises:
        Rejected: the store has no such person, or their access was ended.
        DataError: a name that cannot be shown or typed.
    """
    if user.role is not None:
        if user.name not in access.names(store):
            access.invite(store, user.name)  # the link is thrown away
        with store.write() as connection:
            update_person(connection, user.name, role=user.role)
    with store.write() as connection:
        role = access.role_of(connection, user.name)
        if role is None:
            raise Rejected(403, f"{user.name} has no access; ask an administrator of the project")
        record(connection, who=user.name, role=role, action=f"GET {CALLBACK}")
        return access.start_session(connection, user.name, role, SESSION_SECONDS)


def _required(oidc: OidcLogin | None) -> OidcLogin:
    if oidc is None:
        raise HTTPException(404, "this server has no identity provider")
    return oidc
