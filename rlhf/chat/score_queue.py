"""Scores texts of many requests with one reward model: one thread reads them together."""

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from rlhf.chat.backend import GenerationFailed, QueueFull
from rlhf.rewards.model import RewardModel
from rlhf.runtime.printing import counted


@dataclass(frozen=True, kw_only=True)
class _Request:
    """Texts to score, as ids, and where their scores go."""

    encoded: Sequence[list[int]]
    scores: "Future[list[float]]" = field(default_factory=Future)


class ScoreQueue:
    """The thread of a reward model.

    Args:
        model: the reward model.
        name: what the API calls it.
        slots: texts that are read together.
        waiting: requests that may wait; further ones are rejected.
    """

    def __init__(self, model: RewardModel, *, name: str, slots: int, waiting: int) -> None:
        self.model, self.name = model, name
        self._slots, self._max_waiting = slots, waiting
        self._waiting: deque[_Request] = deque()
        self._running = 0  # requests
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="rlhf-scores", daemon=True)
        self._thread.start()

    async def score(self, encoded: Sequence[list[int]]) -> list[float]:
        """The raw logit of each text.

        Raises:
            QueueFull: too many requests wait already.
            GenerationFailed: the model raised.
        """
        request = _Request(encoded=encoded)
        with self._changed:
            if len(self._waiting) + bool(self._running) > self._max_waiting:
                raise QueueFull(
                    f"the server is busy: {counted(len(self._waiting), 'request')} waiting for "
                    "scores; try again in a moment"
                )
            self._waiting.append(request)
            self._changed.notify()
        return await asyncio.wrap_future(request.scores)  # cancelled, it is not read

    def load(self) -> tuple[int, int]:
        """How many requests are being scored, and how many wait."""
        with self._changed:
            return self._running, len(self._waiting)

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (requests := self._next()) is not None:
            try:
                self._score(requests)
            except Exception as error:  # for example out of memory: serve the next ones
                for request in requests:
                    failed = GenerationFailed(f"the reward model failed: {error}")
                    if not request.scores.done():
                        request.scores.set_exception(failed)
            with self._changed:
                self._running = 0

    def _next(self) -> list[_Request] | None:
        """The requests to read together: as many as fit into the slots, at least one."""
        with self._changed:
            while not (self._waiting or self._closing):
                self._changed.wait()
            if self._closing:
                return None
            taken: list[_Request] = []
            texts = 0
            while self._waiting:
                size = len(self._waiting[0].encoded)
                if taken and texts + size > self._slots:
                    break
                request = self._waiting.popleft()
                if request.scores.set_running_or_notify_cancel():
                    taken.append(request)
                    texts += size
            self._running = len(taken)
            return taken

    def _score(self, requests: Sequence[_Request]) -> None:
        scores = self.model.score_ids([ids for request in requests for ids in request.encoded])
        start = 0
        for request in requests:
            end = start + len(request.encoded)
            request.scores.set_result(scores[start:end])
            start = end
