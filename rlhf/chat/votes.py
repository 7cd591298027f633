"""Votes and thumbs from a chat -> the label store."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from rlhf.data.tokenization.thoughts import split_thought
from rlhf.errors import DataError
from rlhf.labels.access import check_name
from rlhf.labels.records import THUMB, Candidate, Label, normalized_name
from rlhf.labels.store import LabelStore
from rlhf.types import Message, Prompt

TIE, BOTH_BAD = "tie", "bad"
UP, DOWN = 7, 1  # overall ratings of the label page: one above the middle, one below


@dataclass(frozen=True, kw_only=True)
class ComparedResponses:
    """Responses to one prompt in the order shown; thoughts stay before them."""

    prompt: Prompt
    responses: Sequence[str]
    models: Sequence[str]
    blind: bool  # whether the models' names were hidden


class Votes:
    """The votes of one user in one session. A second vote on the same responses replaces the first.

    The store is created with the first vote: chatting without votes leaves no file.
    """

    def __init__(self, location: str | Path, annotator: str) -> None:
        check_name(annotator)
        self.location, self.annotator = str(location), normalized_name(annotator)
        self._store: LabelStore | None = None
        self._lock = threading.Lock()  # requests of a server come on several threads
        self._events: dict[int, int] = {}  # item -> event of this session

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the store."""
        if self._store is not None:
            self._store.close()

    def vote(self, compared: ComparedResponses, vote: str) -> None:
        """Store a vote: the number of the better response from 1, `tie`, or `bad` (all of them).

        Raises:
            DataError: another vote, or an empty response, from which nothing can be learned.
        """
        count = len(compared.responses)
        if any(not split_thought(text)[1].strip() for text in compared.responses):
            raise DataError(
                "a response is empty; only responses with text can be compared.", code="bad-label"
            )
        candidate = Candidate(
            prompt=compared.prompt,
            responses=list(compared.responses),
            models=list(compared.models),
            columns={"source": "chat"},
        )
        ranks = _ranks(vote, count)
        [item] = self._open_store().add_candidates([candidate])
        extra = {"blind": compared.blind} | ({"both_bad": True} if vote == BOTH_BAD else {})
        self._submit(
            Label(
                item_id=item,
                annotator=self.annotator,
                ranks=ranks,
                order_shown=list(range(count)),
                extra=extra,
            )
        )

    def thumb(self, prompt: Prompt, response: str, model: str, *, up: bool) -> None:
        """Store a thumb on one response.

        Raises:
            DataError: the response is empty.
        """
        if not split_thought(response)[1].strip():
            raise DataError(
                "the response is empty; only a response with text can be rated.", code="bad-label"
            )
        candidate = Candidate(
            prompt=prompt, responses=[response], models=[model], columns={"source": "chat"}
        )
        item = self._open_store().add_marked(candidate)
        self._submit(
            Label(
                item_id=item,
                annotator=self.annotator,
                ranks=[1],
                order_shown=[0],
                purpose=THUMB,
                extra={"overall": [UP if up else DOWN]},
            )
        )

    def _open_store(self) -> LabelStore:
        with self._lock:
            if self._store is None:
                self._store = LabelStore(self.location, create=True)
            return self._store

    def _submit(self, label: Label) -> None:
        with self._lock:
            previous = self._events.pop(label.item_id, None)
        if previous is not None:
            self._open_store().undo(previous)
        event = self._open_store().submit(label)
        with self._lock:
            self._events[label.item_id] = event


def as_prompt(messages: Sequence[Message]) -> Prompt:
    """Messages as the prompt of a row: a single user message becomes a string."""
    if len(messages) == 1 and messages[0]["role"] == "user":
        return str(messages[0]["content"])
    return list(messages)


def _ranks(vote: str, count: int) -> list[int]:
    if vote in (TIE, BOTH_BAD):
        return [1] * count
    if not vote.isdecimal() or not 1 <= int(vote) <= count:
        raise DataError(
            f"unknown vote {vote!r}; use 1 to {count}, {TIE} or {BOTH_BAD}.", code="bad-label"
        )
    return [1 if index == int(vote) - 1 else 2 for index in range(count)]
