"""Serves one model to many requests: one thread generates for all, and requests come and go."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterator, Collection, Sequence

from rlhf.chat.engine import BatchEngine, BatchRow, GeneratedToken, GenerationRequest
from rlhf.chat.loading import LoadedModel
from rlhf.runtime.printing import counted


class QueueFull(Exception):
    """Too many requests wait already."""


class GenerationFailed(Exception):
    """The model raised while it generated this response."""


class RequestGroup:
    """The responses of one HTTP request, token by token. Closing it frees their slots."""

    def __init__(self, scheduler: "Scheduler", requests: Sequence[GenerationRequest]) -> None:
        self._scheduler = scheduler
        self._loop = asyncio.get_running_loop()
        self._tokens: asyncio.Queue[tuple[int, GeneratedToken] | GenerationFailed] = asyncio.Queue()
        self.requests = requests
        self._open = set(range(len(requests)))

    async def __aiter__(self) -> AsyncIterator[tuple[int, GeneratedToken]]:
        """(index of the request, token), until every response has ended or was dropped.

        Raises:
            GenerationFailed: the model raised.
        """
        while self._open:
            item = await self._tokens.get()
            if isinstance(item, GenerationFailed):
                raise item
            index, token = item
            if index in self._open:
                if token.finish:
                    self._open.discard(index)
                yield index, token

    def drop(self, index: int) -> None:
        """Cancel one response."""
        self._open.discard(index)
        self._scheduler.cancel(self, [index])

    def close(self) -> None:
        """Cancel all responses. It can be called repeatedly."""
        indices, self._open = self._open, set()
        self._scheduler.cancel(self, indices)


class Scheduler:
    """The thread of one model.

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
                by_loop.setdefault(group._loop, []).append((group, index, token))
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
            failed = GenerationFailed(f"{type(error).__name__}: {error}"[:300])
            with contextlib.suppress(RuntimeError):
                group._loop.call_soon_threadsafe(group._tokens.put_nowait, failed)


def _deliver(tokens: Sequence[tuple[RequestGroup, int, GeneratedToken]]) -> None:
    for group, index, token in tokens:
        group._tokens.put_nowait((index, token))
