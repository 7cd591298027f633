"""The app of `rlhf serve`: the API, the page, and the responses to errors."""

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from rlhf.chat.backend import GenerationFailed, QueueFull
from rlhf.chat.score_queue import ScoreQueue
from rlhf.chat.web.config import ChatServerConfig
from rlhf.chat.web.embedding_routes import add_embeddings
from rlhf.chat.web.errors import BadRequest, body_error, error_body, validation_error
from rlhf.chat.web.guard import guard_chat_app
from rlhf.chat.web.history_routes import add_history
from rlhf.chat.web.inspect_routes import add_inspection
from rlhf.chat.web.model_pool import ModelPool, UnknownModel
from rlhf.chat.web.openai import add_openai
from rlhf.chat.web.page_state import PageState
from rlhf.chat.web.routes import add_page
from rlhf.chat.web.score_routes import SCORE_PATHS, add_scores
from rlhf.errors import RLHFError
from rlhf.web.guard import TOO_LARGE, BodyTooLarge
from rlhf.web.server import TEXT_FILES

API = ("/v1/models", "/v1/chat/completions", "/v1/completions", "/v1/embeddings", *SCORE_PATHS)
# Parts of OpenAI's API that clients may try, with what to use instead.
INSTEAD_OF_PATH = {"/v1/responses": "/v1/chat/completions", "/v1/edits": "/v1/completions"}
STATIC = Path(__file__).parent / "static"


def create_app(
    pool: ModelPool,
    page: PageState,
    config: ChatServerConfig,
    *,
    scores: ScoreQueue | None = None,
) -> ASGIApp:
    """The guarded app.

    Args:
        pool: the policies; without one there is no page, and no response to generate.
        page: what the page needs.
        config: address, access and limits.
        scores: the reward model that other programs score with.
    """
    # A body without a Content-Type is read as JSON. Pages of other sites could send one, but the
    # guard rejects their Origin.
    app = FastAPI(
        title="rlhf serve",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        strict_content_type=False,
    )
    app.mount("/static/text", StaticFiles(directory=TEXT_FILES))
    app.mount("/static", StaticFiles(directory=STATIC))
    _add_generation_errors(app)
    _add_request_errors(app)
    add_openai(app, pool)
    add_embeddings(app, pool)
    if scores is not None:
        add_scores(app, scores, pool.limits.max_prompt_tokens)
    if pool.backends:
        add_page(app, pool, page)
        add_inspection(app, pool, page)
        if page.history is not None:
            add_history(app, page.history, shared=page.shared)

        @app.api_route("/", methods=["GET", "HEAD"])
        def index() -> FileResponse:
            return FileResponse(STATIC / "index.html")

    @app.api_route("/health", methods=["GET", "HEAD"])
    def health() -> dict[str, object]:
        loads = [backend.load() for backend in pool.backends.values()]
        running, waiting = (sum(load[place] for load in loads) for place in (0, 1))
        state: dict[str, object] = {"status": "up", "writing": running, "waiting": waiting}
        if scores is not None:
            state["scoring"], state["waiting_for_scores"] = scores.load()
        return state

    guarded = guard_chat_app(app, config.hosts, config.token, config.allowed_origins)
    if not config.allowed_origins:
        return guarded
    return CORSMiddleware(
        guarded,
        allow_origins=config.allowed_origins,
        allow_methods=["GET", "HEAD", "POST"],
        allow_headers=["*"],
    )


def _add_generation_errors(app: FastAPI) -> None:
    @app.exception_handler(QueueFull)
    def queue_full(request: Request, error: QueueFull) -> Response:
        return JSONResponse(error_body(429, str(error)), 429, headers={"retry-after": "1"})

    @app.exception_handler(UnknownModel)
    def unknown_model(request: Request, error: UnknownModel) -> Response:
        return JSONResponse(error_body(404, str(error), "model", "model_not_found"), 404)

    @app.exception_handler(GenerationFailed)
    def generation_failed(request: Request, error: GenerationFailed) -> Response:
        return JSONResponse(error_body(500, str(error)), 500)

    @app.exception_handler(Exception)
    def unexpected(request: Request, error: Exception) -> Response:
        """The traceback is in the server's log."""
        return JSONResponse(error_body(500, "internal error; see the server's log"), 500)


def _add_request_errors(app: FastAPI) -> None:
    @app.exception_handler(RLHFError)
    def bad_request(request: Request, error: RLHFError) -> Response:
        bad = error if isinstance(error, BadRequest) else BadRequest(str(error))
        return JSONResponse(error_body(400, str(bad), bad.param, bad.openai_code), 400)

    @app.exception_handler(HTTPException)
    def http_error(request: Request, error: HTTPException) -> Response:
        status, message = _status_and_message(request, error)
        return JSONResponse(error_body(status, message), status, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    def invalid_body(request: Request, error: RequestValidationError) -> Response:
        errors = error.errors()
        if unreadable := body_error(errors, request.headers.get("content-type")):
            status, message = unreadable
            return JSONResponse(error_body(status, message), status)
        return JSONResponse(validation_error(errors, error.body), 400)


def _status_and_message(request: Request, error: HTTPException) -> tuple[int, str]:
    """Status and message for an error of Starlette or FastAPI."""
    if isinstance(error.__cause__, BodyTooLarge):  # FastAPI reports a body that it cannot parse
        return 413, TOO_LARGE
    if isinstance(error.__cause__, UnicodeDecodeError):
        encoding = request.headers.get("content-encoding")
        advice = f" but {encoding}; send it uncompressed" if encoding else ""
        return 400, f"the body is not UTF-8{advice}"
    route = f"{request.method} {request.url.path}"
    if error.status_code == 404:
        paths = {getattr(each, "path", "") for each in request.app.routes}
        for unsupported, instead in INSTEAD_OF_PATH.items():
            if request.url.path.startswith(unsupported) and instead in paths:
                return 404, f"{route} is not supported; use {instead}"
        served = ", ".join(path for path in API if path in paths)
        return 404, f"{route} does not exist; the API has {served}"
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        return 405, f"{route} is not allowed; use {allowed}"
    return error.status_code, str(error.detail)
