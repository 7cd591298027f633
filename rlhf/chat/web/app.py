"""The app of `rlhf serve`: the API and the page."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from rlhf.chat.score_queue import ScoreQueue
from rlhf.chat.web.config import ChatServerConfig
from rlhf.chat.web.embedding_routes import add_embeddings
from rlhf.chat.web.error_handlers import add_error_handlers
from rlhf.chat.web.guard import guard_chat_app
from rlhf.chat.web.history_routes import add_history
from rlhf.chat.web.inspect_routes import add_inspection
from rlhf.chat.web.model_pool import ModelPool
from rlhf.chat.web.openai import add_openai
from rlhf.chat.web.page_state import PageState
from rlhf.chat.web.routes import add_page
from rlhf.chat.web.score_routes import add_scores
from rlhf.web.server import TEXT_FILES

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
    add_error_handlers(app)
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
