"""Several projects on one server: a start page, one login, and each project below /p/NAME."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from rlhf.labels.access import WebSession
from rlhf.labels.queue import Queue
from rlhf.labels.web.app import STATIC_FILES, add_error_handlers, page_templates
from rlhf.labels.web.config import WebConfig
from rlhf.labels.web.guard import HOME, error_response, session_finder
from rlhf.labels.web.login import LoginSite, add_login, add_oidc
from rlhf.web.guard import RequestGuard, RequestHeaders
from rlhf.web.server import TEXT_FILES

PREFIX = "/p/"


@dataclass(frozen=True, kw_only=True)
class Project:
    """One project: its app, with the pages and the REST API, and what a login needs of it."""

    title: str
    queue: Queue
    config: WebConfig
    app: ASGIApp


def create_projects_app(projects: Sequence[Project], config: WebConfig) -> ASGIApp:
    """The guarded app over several projects.

    config: of the start page; the projects have their own.
    """
    start = _start_page(projects, config)
    by_name = {project.config.project: project.app for project in projects}

    async def switch(scope: Scope, receive: Receive, send: Send) -> None:
        name, path = split_path(scope["path"]) if scope["type"] == "http" else ("", "")
        if name in by_name:
            await by_name[name]({**scope, "path": path}, receive, send)
        else:
            await start(scope, receive, send)

    return switch


def split_path(path: str) -> tuple[str, str]:
    """("maths", "/admin") of /p/maths/admin; ("", path) for a path that is in no project."""
    if not path.startswith(PREFIX):
        return "", path
    name, slash, rest = path.removeprefix(PREFIX).partition("/")
    return (name, slash + rest) if slash else ("", path)


def _start_page(projects: Sequence[Project], config: WebConfig) -> ASGIApp:
    app = FastAPI(title="rlhf label", docs_url=None, redoc_url=None, openapi_url=None)
    pages = page_templates(config)
    add_error_handlers(app)
    app.mount("/static/text", StaticFiles(directory=TEXT_FILES))
    app.mount("/static", StaticFiles(directory=STATIC_FILES))
    sites = [LoginSite(store=one.queue.store, config=one.config) for one in projects]
    add_login(app, sites, config, pages)
    add_oidc(app, sites, config, pages)
    finders = [session_finder(one.queue.store, one.config) for one in projects]

    @app.get("/health")
    def health() -> Mapping[str, str]:
        return {"status": "up"}

    @app.get("/", response_class=HTMLResponse)
    def start(request: Request) -> Response:
        headers = {key.decode("latin-1"): value for key, value in request.scope["headers"]}
        sessions = [finder(request.scope, headers) for finder in finders]
        rows = [
            row_of(project, session)
            for project, session in zip(projects, sessions, strict=True)
            if session is not None
        ]
        if not rows:
            return RedirectResponse("/login", 303)
        return HTMLResponse(pages.get_template("projects.html").render(rows=rows))

    @app.get("/p/{name}")
    def with_slash(name: str) -> Response:
        known: Collection[str] = [project.config.project for project in projects]
        if name not in known:
            return HTMLResponse("there is no such project", 404)
        return RedirectResponse(f"{PREFIX}{name}/", 303)

    async def authorize(scope: Scope, headers: RequestHeaders) -> None:
        scope["session"] = None  # each project has its own
        config.proxy_user_of(scope)  # rejects the header from other addresses

    return RequestGuard(
        app,
        config.hosts,
        authorize=authorize,
        error_response=partial(error_response, config.base),
        origin_required=True,
    )


def row_of(project: Project, session: WebSession) -> Mapping[str, str]:
    """A project as the start page lists it."""
    return {
        "title": project.title,
        "link": project.config.base + HOME[session.role],
        "name": session.annotator or "the administrator",
        "role": session.role,
    }
