"""Serves one model to many requests: one thread generates for all, and requests come and go."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Collection, Sequence

from rlhf.chat.backend import GenerationFailed, QueueFull, RequestGroup
from rlhf.chat.engine import BatchEngine, BatchRow, GeneratedToken, GenerationRequest
from rlhf.chat.introspection import (
    LikelyToken,
    TokenPosition,
    next_tokens,
    scored_tokens,
    token_positions,
)
from rlhf.chat.loading import LoadedModel
from rlhf.chat.sampling import Sampling
from rlhf.runtime.printing import counted


class Scheduler:
    """The thread of one model: a `Backend` with rlhf's decoder.

    Args:
        model: the model to serve.
        slots: responses generated at a time.
        waiting: responses that may wait for a slot.
    """

    def __init__(self, model: LoadedModel, *, slots: int, waiting: int) -> None:
        self.model = model
        self._engine = BatchEngine(model, slots=slots)
        self._slots, self._max_waiting = slots, waiting
        self._waiting: deque[tuple[RequestGroup, int]] = deque()
        self._running: dict[BatchRow, tuple[RequestGroup, int]] = {}
        self._cancelled: set[tuple[RequestGroup, int]] = set()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="rlhf-decoder", daemon=True)
        self._thread.start()

    def submit(self, requests: Sequence[GenerationRequest]) -> RequestGroup:
        """Queue these requests.

        Raises:
            QueueFull: too many wait already.
        """
        group = RequestGroup(self, requests)
        with self._changed:
            free = self._slots - len(self._running) + self._max_waiting - len(self._waiting)
            if len(requests) > free:
                raise QueueFull(
                    f"the server is busy: {counted(len(self._running), 'response')} running, "
                    f"{len(self._waiting)} waiting; try again in a moment"
                )
            self._waiting.extend((group, index) for index in range(len(requests)))
            self._changed.notify()
        return group

    def cancel(self, group: RequestGroup, indices: Collection[int]) -> None:
        """Stop these responses of the group before the next token."""
        with self._changed:
            cancelled = {(group, index) for index in indices}
            if cancelled:
                self._waiting = deque(entry for entry in self._waiting if entry not in cancelled)
                self._cancelled |= cancelled & set(self._running.values())

    def load(self) -> tuple[int, int]:
        """How many responses are running, and how many wait."""
        with self._changed:
            return len(self._running), len(self._waiting)

    def scored_tokens(self, ids: Sequence[int], *, most: int) -> list[GeneratedToken]:
        """See `Backend`."""
        return scored_tokens(self.model, ids, most=most)

    def next_tokens(
        self, ids: Sequence[int], sampling: Sampling, *, most: int
    ) -> list[LikelyToken]:
        """See `Backend`."""
        return next_tokens(self.model, ids, sampling, most=most)

    def positions(
        self, prompt: Sequence[int], response: Sequence[int], sampling: Sampling, *, most: int
    ) -> list[TokenPosition]:
        """See `Backend`."""
        return token_positions(self.model, prompt, response, sampling, most=most)

    def close(self) -> None:
        """End the thread and abandon the running responses."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while self._admit():
            try:
                generated = self._engine.step()
            # For example out of memory: fail the running requests and serve the next ones.
            except Exception as error:
                self._fail(error)
            else:
                self._distribute(generated)

    def _admit(self) -> bool:
        """Wait for work, drop cancelled requests, start waiting ones; False once closed."""
        with self._changed:
            while not (self._waiting or self._running or self._closing):
                self._changed.wait()
            for row in [row for row, entry in self._running.items() if entry in self._cancelled]:
                self._engine.drop(row)
                del self._running[row]
            self._cancelled.clear()
            while self._waiting and self._engine.free:
                group, index = self._waiting.popleft()
                self._running[self._engine.add(group.requests[index])] = (group, index)
            return not self._closing

    def _distribute(self, generated: Sequence[tuple[BatchRow, GeneratedToken]]) -> None:
        by_loop: dict[
            asyncio.AbstractEventLoop, list[tuple[RequestGroup, int, GeneratedToken]]
        ] = {}
        with self._changed:
            for row, token in generated:
                group, index = self._running[row]
                by_loop.setdefault(group.loop, []).append((group, index, token))
                if token.finish:
                    del self._running[row]
        for loop, tokens in by_loop.items():
            with contextlib.suppress(RuntimeError):  # the loop has ended: there are no readers
                loop.call_soon_threadsafe(_deliver, tokens)

    def _fail(self, error: Exception) -> None:
        with self._changed:
            groups = {group for group, _ in self._running.values()}
            self._running.clear()
            self._engine.clear()
        for group in groups:
            group.put_from_thread(GenerationFailed(f"{type(error).__name__}: {error}"[:300]))


def _deliver(tokens: Sequence[tuple[RequestGroup, int, GeneratedToken]]) -> None:
    for group, index, token in tokens:
        group.put((index, token))
