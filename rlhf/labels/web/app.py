"""The web app: the label page here and in `annotator_items.py`, researchers' in `admin.py`."""

from collections.abc import Mapping
from pathlib import Path

import jinja2
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp

from rlhf.errors import DataError
from rlhf.labels import access
from rlhf.labels.claiming import StaleClaimError
from rlhf.labels.form_config import FormConfig, as_json
from rlhf.labels.form_versions import add_form
from rlhf.labels.queue import Queue
from rlhf.labels.review.history import Histories
from rlhf.labels.web.adjudicate import add_adjudication
from rlhf.labels.web.annotator_items import ItemRoutes, add_items, add_live, add_work
from rlhf.labels.web.annotator_questions import add_questions
from rlhf.labels.web.audit_middleware import AuditMiddleware
from rlhf.labels.web.config import WebConfig
from rlhf.labels.web.crowd import add_crowd
from rlhf.labels.web.guard import HOME, guard_label_app
from rlhf.labels.web.live_sampling import LiveSampling
from rlhf.labels.web.login import LoginSite, add_login, add_oidc
from rlhf.labels.web.pictures import Pictures, add_picture_route
from rlhf.web.markdown import render
from rlhf.web.server import TEXT_FILES

HERE = Path(__file__).parent
STATIC_FILES = HERE / "static"
MAX_DETAIL = 1000  # characters of an error message


def create_app(queue: Queue, config: WebConfig, live: LiveSampling | None = None) -> ASGIApp:
    """The guarded app over one queue."""
    from rlhf.labels.web.admin import add_admin

    app = FastAPI(title="rlhf label", docs_url=None, redoc_url=None, openapi_url=None)
    pages = page_templates(config)
    app.mount("/static/text", StaticFiles(directory=TEXT_FILES))
    app.mount("/static", StaticFiles(directory=STATIC_FILES))
    add_error_handlers(app)
    app.add_middleware(AuditMiddleware, store=queue.store)
    app.state.queue, app.state.config = queue, config
    with queue.store.write() as connection:
        form_version = add_form(connection, config.form)
    site = LoginSite(store=queue.store, config=config)
    add_login(app, [site], config, pages)
    if not config.project:  # with several projects, the start page has these routes
        add_oidc(app, [site], config, pages)
    _add_page(app, queue, config, pages, has_models=live is not None)
    _add_form(app, config.form, form_version)
    pictures = Pictures(config.pictures, config.base)
    routes = ItemRoutes(
        queue=queue, config=config.form, form_version=form_version, pictures=pictures
    )
    add_items(app, routes)
    add_picture_route(app, pictures)
    histories = Histories(queue.store)
    add_crowd(app, queue, config, pages)
    add_questions(app, queue.store)
    add_work(app, queue.store)
    add_adjudication(app, queue, pages, histories, pictures)
    if live is not None:
        add_live(app, queue, live)
    add_admin(app, queue, config, pages, histories)
    return guard_label_app(app, queue.store, config)


def page_templates(config: WebConfig) -> jinja2.Environment:
    """The templates of the pages, for an app with these settings."""
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    pages.globals["base"] = config.base
    return pages


def add_error_handlers(app: FastAPI) -> None:
    """Answer a request that cannot be carried out with its reason."""
    app.add_exception_handler(StaleClaimError, _conflict)
    app.add_exception_handler(DataError, _unprocessable)
    app.add_exception_handler(RequestValidationError, _invalid_body)


def _add_page(
    app: FastAPI, queue: Queue, config: WebConfig, pages: jinja2.Environment, *, has_models: bool
) -> None:
    @app.get("/health")
    def health() -> Mapping[str, str]:
        return {"status": "up"}

    @app.post("/logout")
    def logout(request: Request) -> Response:
        access.log_out(queue.store, request.scope["session"])
        response = JSONResponse({"to": f"{config.base}/login"})
        response.delete_cookie(config.cookie)
        return response

    @app.get("/", response_class=HTMLResponse)
    def page(request: Request) -> Response:
        session = request.scope["session"]
        if HOME[session.role] != "/":
            return RedirectResponse(config.base + HOME[session.role], 303)
        html = pages.get_template("label.html").render(
            csrf=session.csrf,
            name=session.annotator,
            live=has_models,
            crowd=config.crowd is not None,
        )
        return HTMLResponse(html)

    @app.get("/api/guideline")
    def guideline() -> Mapping[str, object]:
        version, text = queue.store.newest_guideline()
        return {"version": version, "html": render(text)}


def _add_form(app: FastAPI, form: FormConfig, version: int) -> None:
    @app.get("/api/form")
    def current_form() -> Mapping[str, object]:
        return {**as_json(form), "version": version}


def _conflict(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error)}, 409)


def _unprocessable(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": printable(str(error))}, 422)


def _invalid_body(request: Request, error: Exception) -> Response:
    """The problems without the sent values: NaN and half a surrogate pair cannot be sent back."""
    assert isinstance(error, RequestValidationError)
    problems = [
        f"{'.'.join(str(part) for part in one['loc'][1:])}: {one['msg']}" for one in error.errors()
    ]
    return JSONResponse({"detail": printable("; ".join(problems)[:MAX_DETAIL])}, 422)


def printable(text: str) -> str:
    """The text with escapes for characters that UTF-8 cannot encode."""
    return text.encode(errors="backslashreplace").decode()
