"""The app of `rlhf serve`: the API, the page, and what every error looks like."""

from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from rlhf.chat.scheduler import Busy, Failed
from rlhf.chat.web.config import ChatServerConfig
from rlhf.chat.web.errors import Unfit, error_body, invalid, unread
from rlhf.chat.web.guard import guard_chat_app
from rlhf.chat.web.model_pool import ModelPool, NoModel
from rlhf.chat.web.openai import add_openai
from rlhf.chat.web.routes import PageState, add_page
from rlhf.errors import RLHFError
from rlhf.web.guard import TOO_LARGE, BodyTooLarge

API = ("/v1/models", "/v1/chat/completions", "/v1/completions")
STATIC = Path(__file__).parent / "static"


def create_app(served: ModelPool, desk: PageState, config: ChatServerConfig) -> ASGIApp:
    """The guarded app."""
    # A body without a Content-Type is read as JSON: no page of another site can send one, which
    # the guard knows by its Origin.
    app = FastAPI(
        title="rlhf serve",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        strict_content_type=False,
    )
    app.mount("/static", StaticFiles(directory=STATIC))
    _add_errors(app)
    add_openai(app, served)
    add_page(app, served, desk)

    @app.api_route("/", methods=["GET", "HEAD"])
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    @app.api_route("/health", methods=["GET", "HEAD"])
    def health() -> dict[str, Any]:
        loads = [worker.load() for worker in served.workers.values()]
        writing, waiting = (sum(counts) for counts in zip(*loads, strict=True))
        return {"status": "up", "writing": writing, "waiting": waiting}

    return guard_chat_app(app, config.hosts, config.token)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Busy)
    def busy(request: Request, error: Busy) -> Response:
        return JSONResponse(error_body(429, str(error)), 429, headers={"retry-after": "1"})

    @app.exception_handler(NoModel)
    def no_model(request: Request, error: NoModel) -> Response:
        return JSONResponse(error_body(404, str(error), "model", "model_not_found"), 404)

    @app.exception_handler(RLHFError)
    def unfit(request: Request, error: RLHFError) -> Response:
        named = error if isinstance(error, Unfit) else Unfit(str(error))
        return JSONResponse(error_body(400, str(named), named.param, named.openai_code), 400)

    @app.exception_handler(Failed)
    def failed(request: Request, error: Failed) -> Response:
        return JSONResponse(error_body(500, str(error)), 500)

    @app.exception_handler(Exception)
    def ours(request: Request, error: Exception) -> Response:
        """The traceback is in the server's log."""
        return JSONResponse(error_body(500, "the server failed; its log says where"), 500)

    @app.exception_handler(HTTPException)
    def other(request: Request, error: HTTPException) -> Response:
        status, message = _of_http(request, error)
        return JSONResponse(error_body(status, message), status, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    def refused(request: Request, error: RequestValidationError) -> Response:
        errors = error.errors()
        if found := unread(errors, request.headers.get("content-type")):
            status, message = found
            return JSONResponse(error_body(status, message), status)
        return JSONResponse(invalid(errors, error.body), 400)


def _of_http(request: Request, error: HTTPException) -> tuple[int, str]:
    """Status and sentence of what Starlette and FastAPI refuse."""
    if isinstance(error.__cause__, BodyTooLarge):  # FastAPI takes it for a body it cannot parse
        return 413, TOO_LARGE
    if isinstance(error.__cause__, UnicodeDecodeError):
        packed = request.headers.get("content-encoding")
        return 400, f"the body is not UTF-8{f', but {packed}; send it unpacked' if packed else ''}"
    asked = f"{request.method} {request.url.path}"
    if error.status_code == 404:
        return 404, f"{asked} is not served; the API is {', '.join(API)}"
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        return 405, f"{asked} is not served; use {allowed}"
    return error.status_code, str(error.detail)
