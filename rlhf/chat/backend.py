"""What the web layer needs of a model: responses token by token, and its log-probs.

rlhf's decoder (`Scheduler`) and a vLLM server (`VLLMBackend`) give it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Protocol

from rlhf.chat.engine import GeneratedToken, GenerationRequest
from rlhf.chat.introspection import LikelyToken, TokenPosition
from rlhf.chat.policy_info import PolicyInfo
from rlhf.chat.sampling import Sampling


class QueueFull(Exception):
    """Too many requests wait already."""


class GenerationFailed(Exception):
    """The model raised, or its server was lost, while it generated this response."""


class Backend(Protocol):
    """Generates the responses of one model for many requests at the same time."""

    @property
    def model(self) -> PolicyInfo:
        """Its tokenizer, chat template and positions."""

    def submit(self, requests: Sequence[GenerationRequest]) -> "RequestGroup":
        """Queue these requests.

        Raises:
            QueueFull: too many wait already.
        """

    def cancel(self, group: "RequestGroup", indices: Collection[int]) -> None:
        """Stop these responses of the group before the next token."""

    def load(self) -> tuple[int, int]:
        """How many responses are running, and how many wait."""

    def scored_tokens(self, ids: Sequence[int], *, most: int) -> list[GeneratedToken]:
        """Every token after the first, given those before it, at temperature 1.

        Each has the `most` likeliest tokens of its position.
        """

    def next_tokens(
        self, ids: Sequence[int], sampling: Sampling, *, most: int
    ) -> list[LikelyToken]:
        """The `most` likeliest tokens after `ids`, best first."""

    def positions(
        self, prompt: Sequence[int], response: Sequence[int], sampling: Sampling, *, most: int
    ) -> list[TokenPosition]:
        """Each token of the response among the likeliest ones at its position."""

    def close(self) -> None:
        """Abandon the running responses, and end what was started."""


class RequestGroup:
    """The responses of one HTTP request, token by token. Closing it frees their slots."""

    def __init__(self, backend: Backend, requests: Sequence[GenerationRequest]) -> None:
        self._backend = backend
        self.loop = asyncio.get_running_loop()
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

    def put(self, item: tuple[int, GeneratedToken] | GenerationFailed) -> None:
        """Pass on a token, or the end of all responses. Call it in the group's event loop."""
        self._tokens.put_nowait(item)

    def put_from_thread(self, item: tuple[int, GeneratedToken] | GenerationFailed) -> None:
        """`put` from another thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended: there are no readers
            self.loop.call_soon_threadsafe(self.put, item)

    @property
    def is_open(self) -> bool:
        """Whether a response has not ended."""
        return bool(self._open)

    def drop(self, index: int) -> None:
        """Cancel one response."""
        self._open.discard(index)
        self._backend.cancel(self, [index])

    def close(self) -> None:
        """Cancel all responses. It can be called repeatedly."""
        indices, self._open = self._open, set()
        self._backend.cancel(self, indices)
