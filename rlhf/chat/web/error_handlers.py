"""Responses to errors, in OpenAI's format, of the API, the chat page and the arena."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from rlhf.chat.backend import GenerationFailed, QueueFull
from rlhf.chat.web.errors import BadRequest, body_error, error_body, validation_error
from rlhf.chat.web.model_pool import UnknownModel
from rlhf.chat.web.score_routes import SCORE_PATHS
from rlhf.errors import RLHFError
from rlhf.web.guard import TOO_LARGE, BodyTooLarge

API = ("/v1/models", "/v1/chat/completions", "/v1/completions", "/v1/embeddings", *SCORE_PATHS)
# Parts of OpenAI's API that clients may try, with what to use instead.
INSTEAD_OF_PATH = {"/v1/responses": "/v1/chat/completions", "/v1/edits": "/v1/completions"}


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error of a route with a status and a message."""
    _add_generation_errors(app)
    _add_request_errors(app)


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
        return 404, f"{route} does not exist" + (f"; the API has {served}" if served else "")
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        return 405, f"{route} is not allowed; use {allowed}"
    return error.status_code, str(error.detail)
