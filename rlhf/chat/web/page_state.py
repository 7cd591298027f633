"""What the routes of the chat page share: the votes, the history, the browser of a request."""

import threading
from collections.abc import Collection
from dataclasses import dataclass, field

from fastapi import Request

from rlhf.chat.votes import Votes
from rlhf.chat.web.history import ChatHistory
from rlhf.rewards.model import RewardModel

BROWSER_HEADER = "x-browser-key"
MAX_BROWSER_KEY = 64  # characters


@dataclass(kw_only=True)
class PageState:
    """What the page needs in addition to the models."""

    votes: Votes
    reward_model: RewardModel | None = None
    history: ChatHistory | None = None  # None: conversations exist in their browser tabs only
    # Whether several people use the page: each names themselves to vote, and sees only the
    # conversations of their own browser.
    shared: bool = False
    given_names: Collection[str] = ()  # served names that the user chose (`NAME=DIR`)
    # One forward pass at a time for inspection and rewards: running responses take precedence.
    inspection_lock: threading.Lock = field(default_factory=threading.Lock)


def browser_key(request: Request) -> str:
    """The secret that the page has made in its browser; "" without one."""
    return request.headers.get(BROWSER_HEADER, "")[:MAX_BROWSER_KEY]
