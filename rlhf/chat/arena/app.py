"""The app of `rlhf serve --arena`: the page, the leaderboard, questions and votes.

It has no API and no chat page, with which a visitor could find out which model answers how.
"""

from pathlib import Path
from typing import Annotated, Literal

import jinja2
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import Field
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Scope

from rlhf.chat.arena.answers import answer_events, submit
from rlhf.chat.arena.battles import Battles, TooEarly
from rlhf.chat.arena.config import MAX_QUESTION, TEMPERATURE, WINDOW, ArenaConfig
from rlhf.chat.arena.leaderboard import Leaderboard
from rlhf.chat.arena.rules import CHARACTERS_PER_SECOND, LONGEST, RULES
from rlhf.chat.arena.votes import ArenaVotes
from rlhf.chat.web.app import STATIC
from rlhf.chat.web.error_handlers import add_error_handlers
from rlhf.chat.web.errors import BadRequest, error_body
from rlhf.chat.web.model_pool import ModelPool
from rlhf.chat.web.openai import EventStream
from rlhf.chat.web.schema import StrictBody
from rlhf.evaluation.stats.bradley_terry import MIN_PROMPTS
from rlhf.web.addresses import client_address, parse_proxies
from rlhf.web.guard import Rejected, RequestGuard, RequestHeaders
from rlhf.web.rate_limit import RateLimit
from rlhf.web.server import TEXT_FILES

HERE = Path(__file__).parent


class QuestionBody(StrictBody):
    """A question for two models."""

    question: Annotated[str, Field(max_length=MAX_QUESTION)]


class VoteBody(StrictBody):
    """The better answer of a battle."""

    battle: Annotated[str, Field(max_length=64)]
    vote: Literal["1", "2", "tie", "bad"]


def create_arena_app(
    pool: ModelPool, battles: Battles, votes: ArenaVotes, config: ArenaConfig
) -> ASGIApp:
    """The guarded app.

    Args:
        pool: the models.
        battles: the open battles of these models.
        votes: where votes go.
        config: who may reach the app, and its limits.
    """
    app = FastAPI(title="rlhf arena", docs_url=None, redoc_url=None, openapi_url=None)
    app.mount("/static/text", StaticFiles(directory=TEXT_FILES))
    app.mount("/static/arena", StaticFiles(directory=HERE / "static"))
    app.mount("/static", StaticFiles(directory=STATIC))
    add_error_handlers(app)
    _add_pages(app, votes, config)
    _add_battles(app, pool, battles, votes, config)

    async def allow(scope: Scope, headers: RequestHeaders) -> None:
        """Every visitor has access."""

    return RequestGuard(
        app, config.hosts, authorize=allow, error_response=_error_response, origin_required=True
    )


def _add_pages(app: FastAPI, votes: ArenaVotes, config: ArenaConfig) -> None:
    leaderboard = Leaderboard(votes)
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    facts = {
        "rules": RULES,
        "models": list(votes.stored_names),
        "questions_per_hour": config.questions_per_hour,
        "characters_per_second": CHARACTERS_PER_SECOND,
        "longest": LONGEST,
        "temperature": TEMPERATURE,
        "max_new_tokens": config.limits.max_new_tokens,
        "max_question": MAX_QUESTION,
    }
    shown = {stored: served for served, stored in votes.stored_names.items()}

    @app.api_route("/", methods=["GET", "HEAD"], response_class=HTMLResponse)
    def arena() -> str:
        return pages.get_template("arena.html").render(facts)

    @app.get("/leaderboard", response_class=HTMLResponse)
    def board() -> str:
        template = pages.get_template("leaderboard.html")
        return template.render(
            facts,
            board=leaderboard.get(),
            shown=shown,
            min_questions=MIN_PROMPTS,
        )

    @app.api_route("/health", methods=["GET", "HEAD"])
    def health() -> dict[str, str]:
        return {"status": "up"}


def _add_battles(
    app: FastAPI, pool: ModelPool, battles: Battles, votes: ArenaVotes, config: ArenaConfig
) -> None:
    questions = RateLimit(config.questions_per_hour, WINDOW)
    proxies = parse_proxies(config.trusted_proxy)

    @app.post("/arena/ask")
    async def ask(request: Request, body: QuestionBody) -> Response:
        visitor = votes.visitor(client_address(request.scope, proxies))
        if questions.is_exceeded(visitor):
            raise HTTPException(
                429,
                f"{config.questions_per_hour} questions of your address in an hour are the most; "
                "try again later",
            )
        if battles.is_busy(visitor):
            raise HTTPException(429, "wait until your other questions are answered")
        battle = battles.begin(visitor, body.question.strip())
        submit(pool, battle)
        questions.count(visitor)
        return EventStream(battle.groups, answer_events(pool, battles, battle))

    @app.post("/arena/vote")
    def vote(body: VoteBody) -> dict[str, object]:
        """The names of the models, and why the vote does not count, if it does not."""
        battle = battles.get(body.battle)
        if battle is None:
            raise HTTPException(410, "this question was asked too long ago; ask it again")
        if battle.opens_at is not None and battle.is_empty:
            raise BadRequest("an answer is empty, so they cannot be compared; ask again")
        try:
            is_first = battles.decide(battle)
        except TooEarly:
            raise HTTPException(409, "read both answers first") from None
        if not is_first:
            raise HTTPException(409, "you have voted on this question already")
        try:
            broken = votes.cast(battle, body.vote)
        except Exception:
            battle.is_decided = False  # the page may send the vote again
            raise
        return {"models": battle.models, "broken_rules": [RULES[rule] for rule in broken]}


def _error_response(scope: Scope, rejected: Rejected) -> Response:
    return JSONResponse(error_body(rejected.status, str(rejected)), rejected.status)
