"""An arena for tests: the app in a thread, on a free port, and the requests of its page."""

import json
import random
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from rlhf.chat.arena.app import create_arena_app
from rlhf.chat.arena.battles import Battles
from rlhf.chat.arena.config import ArenaConfig
from rlhf.chat.arena.votes import ArenaVotes
from rlhf.chat.loading import LoadedModel
from rlhf.chat.scheduler import Scheduler
from rlhf.chat.web.model_pool import ModelPool
from rlhf.labels.store import LabelStore
from tests.chat.running_app import running


@dataclass
class Arena:
    """A running arena."""

    address: str
    store: LabelStore
    battles: Battles
    app: Any

    def post(self, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
        headers = {"origin": self.address, **headers}
        return httpx.post(f"{self.address}{path}", json=body, headers=headers, timeout=240)

    def ask(self, question: str, **headers: str) -> list[dict[str, Any]]:
        """The events of the answers."""
        reply = self.post("/arena/ask", {"question": question}, **headers).raise_for_status()
        lines = [line for line in reply.text.splitlines() if line]
        assert lines.pop() == "data: [DONE]"
        return [json.loads(line.removeprefix("data: ")) for line in lines]

    def vote(self, battle: str, vote: str) -> httpx.Response:
        return self.post("/arena/vote", {"battle": battle, "vote": vote})


@contextmanager
def serving_arena(
    folder: Path,
    models: dict[str, LoadedModel],
    config: ArenaConfig | None = None,
    *,
    seed: int = 0,
    clock=time.monotonic,
):
    """An `Arena` whose models are stored under their names; votes go into the folder."""
    config = config or ArenaConfig()
    schedulers = {name: Scheduler(model, slots=8, waiting=8) for name, model in models.items()}
    pool = ModelPool(backends=dict(schedulers), limits=config.limits)
    battles = Battles(list(models), draw=random.Random(seed), clock=clock)
    with LabelStore(folder / "labels.sqlite") as store:
        votes = ArenaVotes(store, {name: f"runs/{name}" for name in models})
        app = create_arena_app(pool, battles, votes, config)
        with running(app) as address:
            yield Arena(address, store, battles, app)
        for scheduler in schedulers.values():
            scheduler.close()
