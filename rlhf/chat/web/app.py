"""The app of `rlhf serve`: the API, the page, and what every error looks like."""

from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from rlhf.chat.web.config import ServeConfig
from rlhf.chat.web.guard import Guard, error_body
from rlhf.chat.web.openai import add_openai
from rlhf.chat.web.page import Desk, add_page
from rlhf.chat.web.served import NoModel, Served
from rlhf.chat.worker import Busy, Failed
from rlhf.errors import RLHFError
from rlhf.labels.web.guard import TOO_LARGE, TooLarge

STATIC = Path(__file__).parent / "static"


def create_app(served: Served, desk: Desk, config: ServeConfig) -> ASGIApp:
    """The guarded app."""
    app = FastAPI(title="rlhf serve", docs_url=None, redoc_url=None, openapi_url=None)
    app.mount("/static", StaticFiles(directory=STATIC))
    _add_errors(app)
    add_openai(app, served)
    add_page(app, served, desk)

    @app.get("/")
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    @app.get("/health")
    def health() -> dict[str, Any]:
        loads = [worker.load() for worker in served.workers.values()]
        writing, waiting = (sum(counts) for counts in zip(*loads, strict=True))
        return {"status": "up", "writing": writing, "waiting": waiting}

    return Guard(app, config.hosts, config.token)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Busy)
    def busy(request: Request, error: Busy) -> Response:
        return JSONResponse(error_body(429, str(error)), 429, headers={"retry-after": "1"})

    @app.exception_handler(NoModel)
    def no_model(request: Request, error: NoModel) -> Response:
        return JSONResponse(error_body(404, str(error), "model"), 404)

    @app.exception_handler(RLHFError)
    def unfit(request: Request, error: RLHFError) -> Response:
        return JSONResponse(error_body(400, str(error)), 400)

    @app.exception_handler(Failed)
    def failed(request: Request, error: Failed) -> Response:
        return JSONResponse(error_body(500, str(error)), 500)

    @app.exception_handler(HTTPException)
    def other(request: Request, error: HTTPException) -> Response:
        if isinstance(error.__cause__, TooLarge):  # FastAPI takes it for a body it cannot parse
            return JSONResponse(error_body(413, TOO_LARGE), 413)
        return JSONResponse(error_body(error.status_code, str(error.detail)), error.status_code)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "body")
        reason = first["msg"].removeprefix("Value error, ")
        message = f"{place}: {reason}" if place else reason
        return JSONResponse(error_body(400, message, place or None), 400)
