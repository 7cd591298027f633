"""A model that serves many: one thread decodes for all, requests join and leave at any token."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterator, Sequence

from rlhf.chat.engine import BatchEngine, GenerationRequest, Row, Token
from rlhf.chat.loading import ChatModel


class Busy(Exception):
    """No more questions are taken for now."""


class Failed(Exception):
    """The model raised while it wrote this answer."""


class Group:
    """The answers of one request, token by token. Close it, and their places are free."""

    def __init__(self, worker: "Scheduler", questions: Sequence[GenerationRequest]) -> None:
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._tokens: asyncio.Queue[tuple[int, Token] | Failed] = asyncio.Queue()
        self.questions = questions
        self._open = set(range(len(questions)))

    async def __aiter__(self) -> AsyncIterator[tuple[int, Token]]:
        """(index of the question, token), until every answer has ended or was dropped.

        Raises:
            Failed: the model could not go on.
        """
        while self._open:
            found = await self._tokens.get()
            if isinstance(found, Failed):
                raise found
            index, token = found
            if index in self._open:
                if token.finish:
                    self._open.discard(index)
                yield index, token

    def drop(self, index: int) -> None:
        """No more of this answer is wanted."""
        self._open.discard(index)
        self._worker.cancel(self, [index])

    def close(self) -> None:
        """No more of any answer is wanted. It may be called again."""
        left, self._open = self._open, set()
        self._worker.cancel(self, left)


class Scheduler:
    """One model's thread.

    slots: answers written at a time. waiting: answers that may wait for a place.
    """

    def __init__(self, model: ChatModel, *, slots: int, waiting: int) -> None:
        self.model = model
        self._decoder = BatchEngine(model, slots=slots)
        self._slots, self._most_waiting = slots, waiting
        self._waiting: deque[tuple[Group, int]] = deque()
        self._rows: dict[Row, tuple[Group, int]] = {}
        self._cancelled: set[tuple[Group, int]] = set()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="rlhf-decoder", daemon=True)
        self._thread.start()

    def submit(self, questions: Sequence[GenerationRequest]) -> Group:
        """Have all of these answered.

        Raises:
            Busy: too many wait already.
        """
        group = Group(self, questions)
        with self._changed:
            free = self._slots - len(self._rows) + self._most_waiting - len(self._waiting)
            if len(questions) > free:
                raise Busy(
                    f"{len(self._rows)} answers are being written and {len(self._waiting)} wait; "
                    "try again in a moment"
                )
            self._waiting.extend((group, index) for index in range(len(questions)))
            self._changed.notify()
        return group

    def cancel(self, group: Group, indices: Sequence[int] | set[int]) -> None:
        """Stop writing these answers of the group before the next token."""
        with self._changed:
            gone = {(group, index) for index in indices}
            if gone:
                self._waiting = deque(one for one in self._waiting if one not in gone)
                self._cancelled |= gone & set(self._rows.values())

    def load(self) -> tuple[int, int]:
        """How many answers are being written, and how many wait."""
        with self._changed:
            return len(self._rows), len(self._waiting)

    def close(self) -> None:
        """End the thread; what is being written is left."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while self._take_up():
            try:
                found = self._decoder.step()
            # Out of memory, say: those who asked are told, and the next ones are served.
            except Exception as error:
                self._fail(error)
            else:
                self._hand_out(found)

    def _take_up(self) -> bool:
        """Wait for work, drop what was cancelled, let in what waits; False at the end."""
        with self._changed:
            while not (self._waiting or self._rows or self._closing):
                self._changed.wait()
            for row in [row for row, one in self._rows.items() if one in self._cancelled]:
                self._decoder.drop(row)
                del self._rows[row]
            self._cancelled.clear()
            while self._waiting and self._decoder.free:
                group, index = self._waiting.popleft()
                self._rows[self._decoder.add(group.questions[index])] = (group, index)
            return not self._closing

    def _hand_out(self, found: Sequence[tuple[Row, Token]]) -> None:
        told: dict[asyncio.AbstractEventLoop, list[tuple[Group, int, Token]]] = {}
        with self._changed:
            for row, token in found:
                group, index = self._rows[row]
                told.setdefault(group._loop, []).append((group, index, token))
                if token.finish:
                    del self._rows[row]
        for loop, tokens in told.items():
            with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody reads
                loop.call_soon_threadsafe(_deliver, tokens)

    def _fail(self, error: Exception) -> None:
        with self._changed:
            groups = {group for group, _ in self._rows.values()}
            self._rows.clear()
            self._decoder.clear()
        for group in groups:
            failed = Failed(f"{type(error).__name__}: {error}"[:300])
            with contextlib.suppress(RuntimeError):
                group._loop.call_soon_threadsafe(group._tokens.put_nowait, failed)


def _deliver(tokens: Sequence[tuple[Group, int, Token]]) -> None:
    for group, index, token in tokens:
        group._tokens.put_nowait((index, token))
