"""Routes of the conversations on disk: list, read, save, rename, delete."""

import hashlib
from dataclasses import asdict
from typing import Annotated

from fastapi import FastAPI, Path, Query, Request

from rlhf.chat.web.errors import BadRequest
from rlhf.chat.web.history import ChatHistory
from rlhf.chat.web.page_schema import SaveBody, TitleBody
from rlhf.chat.web.page_state import BROWSER_HEADER, browser_key

MIN_KEY_LENGTH = 32  # characters; a shorter key can be guessed
Key = Annotated[str, Path(pattern=r"^[A-Za-z0-9-]{8,64}$")]
Search = Annotated[str, Query(max_length=200)]


def add_history(app: FastAPI, history: ChatHistory, *, shared: bool) -> None:
    """Add the routes below /page/history.

    Args:
        app: the app.
        history: the conversations.
        shared: whether several people use the page; each then has their own conversations.
    """

    @app.get("/page/history")
    def summaries(request: Request, q: Search = "") -> list[dict[str, object]]:
        return [asdict(one) for one in history.summaries(_owner(request, shared), q)]

    @app.get("/page/history/{key}")
    def read(request: Request, key: Key) -> dict[str, object]:
        stored = history.read(_owner(request, shared), key)
        turns = [turn.model_dump() for turn in stored.turns]
        return {"id": stored.id, "title": stored.title, "leaf": stored.leaf, "turns": turns}

    @app.post("/page/history/{key}")
    def save(request: Request, key: Key, body: SaveBody) -> dict[str, bool]:
        owner = _owner(request, shared)
        history.save(owner, key, title=body.title, leaf=body.leaf, turns=body.turns)
        return {"saved": True}

    @app.post("/page/history/{key}/title")
    def rename(request: Request, key: Key, body: TitleBody) -> dict[str, bool]:
        history.rename(_owner(request, shared), key, body.title)
        return {"saved": True}

    @app.delete("/page/history/{key}")
    def delete(request: Request, key: Key) -> dict[str, bool]:
        history.delete(_owner(request, shared), key)
        return {"deleted": True}


def _owner(request: Request, shared: bool) -> str:
    """The hash of the browser's key; "" on a page of one user, whose browsers share everything.

    Raises:
        BadRequest: the page is shared, and the request has no key.
    """
    if not shared:
        return ""
    key = browser_key(request)
    if len(key) < MIN_KEY_LENGTH:
        raise BadRequest(f"the header {BROWSER_HEADER} needs a key of this browser")
    return hashlib.sha256(key.encode()).hexdigest()
