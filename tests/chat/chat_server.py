"""A chat server for tests: the app in a thread, on a free port."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai

from rlhf.chat.backend import Backend
from rlhf.chat.conversation import Conversation
from rlhf.chat.loading import LoadedModel
from rlhf.chat.sampling import Sampling
from rlhf.chat.scheduler import Scheduler
from rlhf.chat.score_queue import ScoreQueue
from rlhf.chat.votes import Votes
from rlhf.chat.web.app import create_app
from rlhf.chat.web.config import ChatServerConfig
from rlhf.chat.web.history import ChatHistory
from rlhf.chat.web.limits import Limits
from rlhf.chat.web.model_pool import ModelPool
from rlhf.chat.web.page_state import PageState
from rlhf.rewards.model import RewardModel
from tests.chat.running_app import running

HISTORY = "chats.sqlite"
MESSAGES = [{"role": "user", "content": "Where is the red ball?"}]


@dataclass
class Site:
    """A running server."""

    address: str
    pool: ModelPool
    store: Path
    app: Any

    def client(self, api_key: str = "any", **options) -> openai.OpenAI:
        options = {"max_retries": 0, "timeout": 240, **options}
        return openai.OpenAI(base_url=f"{self.address}/v1", api_key=api_key, **options)

    def settle(self, seconds: float = 60) -> tuple[int, int]:
        """Responses running and waiting over all models, once both are 0 or the time is up."""
        end = time.monotonic() + seconds
        while True:
            loads = [backend.load() for backend in self.pool.backends.values()]
            total = (sum(running for running, _ in loads), sum(waiting for _, waiting in loads))
            if total == (0, 0) or time.monotonic() > end:
                return total
            time.sleep(0.02)


@contextmanager
def serving(
    folder: Path,
    models: dict[str, LoadedModel],
    *,
    limits: Limits | None = None,
    reward_model: RewardModel | None = None,
    scores: ScoreQueue | None = None,
    token: str | None = None,
    with_history: bool = True,
    allowed_origins: Sequence[str] = (),
    backends: Mapping[str, Backend] | None = None,
    given_names: Sequence[str] = (),
):
    """A `Site` with these models; votes and conversations go into the folder.

    With a token the page is one of several people. `backends` serve further models.
    """
    limits = limits or Limits(slots=4, waiting=64, max_new_tokens=64)
    own = {
        name: Scheduler(model, slots=limits.slots, waiting=limits.waiting)
        for name, model in models.items()
    }
    backends = {**own, **(backends or {})}
    store = folder / "labels.sqlite"
    with Votes(store, "Ann") as votes, contextlib.closing(ChatHistory(folder / HISTORY)) as history:
        pool = ModelPool(backends=backends, limits=limits, blind_names=history.blind_names())
        config = ChatServerConfig(token=token, allowed_origins=allowed_origins)
        page = PageState(
            votes=votes,
            reward_model=reward_model,
            history=history if with_history else None,
            shared=token is not None,
            given_names=given_names,
        )
        app = create_app(pool, page, config, scores=scores)
        with running(app) as address:
            yield Site(address, pool, store, app)
        for backend in backends.values():
            backend.close()


def conversation_text(model, sampling: Sampling) -> str:
    """The response of a terminal conversation to the same prompt."""
    talk = Conversation(models=[model], sampling=sampling)
    return "".join(piece.text for piece in talk.send(MESSAGES[0]["content"]))
