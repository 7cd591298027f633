"""The web app: an annotator's page and API here, the researcher's in `admin.py`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp

from rlhf.data.tokenization.thoughts import split_thought
from rlhf.errors import DataError
from rlhf.labels import access
from rlhf.labels.queue import FencedError, Queue
from rlhf.labels.records import Claim
from rlhf.labels.web.config import WebConfig
from rlhf.labels.web.form import answer_of, as_json
from rlhf.labels.web.guard import COOKIE, guard_label_app
from rlhf.labels.web.live_sampling import Busy, LiveSource, Unfinished
from rlhf.labels.web.rate_limit import RateLimit
from rlhf.labels.web.request_schemas import Ask, Beat, Draft, Login, Skip, Submission, Undo
from rlhf.web.markdown import render

HERE = Path(__file__).parent
LOGIN_TRIES, LOGIN_SECONDS = 10, 60.0  # failures from one address in so many seconds
LONGEST_DETAIL = 1000


def create_app(queue: Queue, config: WebConfig, live: LiveSource | None = None) -> ASGIApp:
    """The guarded app over one queue."""
    from rlhf.labels.web.admin import add_admin

    app = FastAPI(title="rlhf label", docs_url=None, redoc_url=None, openapi_url=None)
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    app.mount("/static", StaticFiles(directory=HERE / "static"))
    app.add_exception_handler(FencedError, _conflict)
    app.add_exception_handler(DataError, _unfit)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.state.queue, app.state.config = queue, config
    _add_doors(app, queue, config, pages)
    _add_labelling(app, queue, config, pages, live)
    if live is not None:
        _add_live(app, queue, live)
    add_admin(app, queue, config, pages)
    return guard_label_app(app, queue.store, config.hosts)


def _add_doors(app: FastAPI, queue: Queue, config: WebConfig, pages: jinja2.Environment) -> None:
    tries = RateLimit(LOGIN_TRIES, LOGIN_SECONDS)

    @app.get("/health")
    def health() -> Mapping[str, str]:
        return {"status": "up"}

    @app.get("/login", response_class=HTMLResponse)
    def login_page(request: Request) -> str:
        session = request.scope["session"]
        who = "" if session is None else session.annotator or "the researcher"
        return pages.get_template("login.html").render(who=who)

    @app.post("/login")
    def login(request: Request, body: Login) -> Response:
        address = request.client.host if request.client else ""
        if tries.spent(address):
            raise HTTPException(429, "too many tries; wait a minute")
        found = access.log_in(queue.store, body.token)
        if found is None:
            tries.count(address)
            raise HTTPException(401, "this link is not valid, or was replaced by a newer one")
        cookie, session = found
        response = JSONResponse({"to": "/admin" if session.is_admin else "/"})
        response.set_cookie(
            COOKIE,
            cookie,
            max_age=access.SESSION_SECONDS,
            httponly=True,
            samesite="strict",
            secure=config.https,
        )
        return response

    @app.post("/logout")
    def logout(request: Request) -> Response:
        access.log_out(queue.store, request.scope["session"])
        response = JSONResponse({"to": "/login"})
        response.delete_cookie(COOKIE)
        return response


def _add_labelling(
    app: FastAPI,
    queue: Queue,
    config: WebConfig,
    pages: jinja2.Environment,
    live: LiveSource | None,
) -> None:
    store = queue.store

    @app.get("/", response_class=HTMLResponse)
    def page(request: Request) -> Response:
        session = request.scope["session"]
        if session.is_admin:
            return RedirectResponse("/admin", 303)
        html = pages.get_template("label.html").render(
            csrf=session.csrf, name=session.annotator, live=live is not None
        )
        return HTMLResponse(html)

    @app.get("/api/form")
    def form() -> Mapping[str, Any]:
        return as_json(config.form)

    @app.get("/api/guideline")
    def guideline() -> Mapping[str, Any]:
        version, text = store.newest_guideline()
        return {"version": version, "html": render(text)}

    @app.post("/api/next")
    def next_item(request: Request) -> Mapping[str, Any]:
        name = _name(request)
        return shown(queue, name, queue.next(name))

    @app.post("/api/heartbeat")
    def heartbeat(request: Request, body: Beat) -> Mapping[str, bool]:
        return {"holds": queue.heartbeat(_name(request), body.claim)}

    @app.post("/api/draft")
    def draft(request: Request, body: Draft) -> Mapping[str, bool]:
        form = body.form.model_dump(exclude_defaults=True)
        return {"saved": queue.save_draft(_name(request), body.claim, form)}

    @app.post("/api/submit")
    def submit(request: Request, body: Submission) -> Mapping[str, Any]:
        name = _name(request)
        answer = answer_of(
            body.form,
            queue.order_shown(name, body.claim),
            config.form,
            seconds=body.seconds,
            guideline_version=body.guideline_version,
        )
        kind, following = queue.submit(name, body.claim, answer, request_key=body.key)
        return {"kind": kind, **shown(queue, name, following)}

    @app.post("/api/skip")
    def skip(request: Request, body: Skip) -> Mapping[str, Any]:
        name = _name(request)
        why = {"reason": body.reason, "comment": body.comment, "seconds": body.seconds}
        following = queue.skip(name, body.claim, why, request_key=body.key)
        return {"kind": "skip", **shown(queue, name, following)}

    @app.post("/api/undo")
    def undo(request: Request, body: Undo) -> Mapping[str, Any]:
        name = _name(request)
        claim = queue.undo(name, request_key=body.key)
        kind = "nothing" if claim is None else "undo"
        return {"kind": kind, **shown(queue, name, claim or queue.next(name))}


def _add_live(app: FastAPI, queue: Queue, live: LiveSource) -> None:
    @app.post("/api/ask")
    def ask(request: Request, body: Ask) -> Mapping[str, str]:
        try:
            live.ask(_name(request), body.prompt)
        except Unfinished as unfinished:
            raise HTTPException(409, str(unfinished)) from unfinished
        except Busy as busy:
            raise HTTPException(503, str(busy)) from busy
        return {"state": "waiting"}

    @app.get("/api/ask")
    def asked(request: Request) -> Mapping[str, Any]:
        name = _name(request)
        state = live.take(name)
        if state.item_id is not None:
            queue.claim_item(name, state.item_id)
        return {"state": state.state, "error": state.error}


def shown(queue: Queue, annotator: str, claim: Claim | None) -> dict[str, Any]:
    """What the browser gets of a claim: texts in the order shown, and nothing of who wrote them."""
    progress = queue.progress(annotator)
    content: dict[str, Any] = {
        "claim": None,
        "done": progress.done,
        "left": progress.left,
        "pace": progress.seconds,
        "guideline": queue.store.newest_guideline()[0],
    }
    if claim is None:
        return content
    prompt = claim.item.prompt
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    texts = [claim.item.responses[index] for index in claim.order_shown]
    return content | {
        "claim": claim.id,
        "prompt": [
            {"role": turn["role"], "text": turn["content"], "html": render(turn["content"])}
            for turn in turns
        ],
        "answers": [_shown_response(text) for text in texts],
        "draft": claim.draft,
    }


def _shown_response(response: str) -> dict[str, Any]:
    """Text and HTML of a response, and of its thought apart, which the page folds."""
    thought, text = split_thought(response)
    content: dict[str, Any] = {"text": text, "html": render(text)}
    if thought:
        content["thought"] = {"text": thought, "html": render(thought)}
    return content


def _name(request: Request) -> str:
    name = request.scope["session"].annotator
    assert isinstance(name, str)  # the guard lets no researcher in here
    return name


def _conflict(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error)}, 409)


def _unfit(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": printable(str(error))}, 422)


def _malformed(request: Request, error: Exception) -> Response:
    """In words, and without what was sent: NaN and half a surrogate pair cannot be sent back."""
    assert isinstance(error, RequestValidationError)
    problems = [
        f"{'.'.join(str(part) for part in one['loc'][1:])}: {one['msg']}" for one in error.errors()
    ]
    return JSONResponse({"detail": printable("; ".join(problems)[:LONGEST_DETAIL])}, 422)


def printable(text: str) -> str:
    """The text with what UTF-8 cannot hold written as an escape."""
    return text.encode(errors="backslashreplace").decode()
