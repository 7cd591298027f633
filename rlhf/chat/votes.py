"""What a chatting person prefers -> the label store: votes are preferences, thumbs are marks."""

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
UP, DOWN = 7, 1  # overall marks, as the label page has them: above the middle and below


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Answers to one prompt, in the order in which they were shown; thoughts stay before them."""

    prompt: Prompt
    answers: Sequence[str]
    models: Sequence[str]
    blind: bool  # whether the models' names were hidden


class Votes:
    """A person's votes of one session. A second vote on the same answers replaces the first.

    The store is made with the first vote: who only chats leaves no file.
    """

    def __init__(self, location: str | Path, annotator: str) -> None:
        check_name(annotator)
        self.location, self.annotator = str(location), normalized_name(annotator)
        self._opened: LabelStore | None = None
        self._lock = threading.Lock()  # a server's requests come on several threads
        self._given: dict[int, int] = {}  # item -> event of this session

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
        """Give the store back."""
        if self._opened is not None:
            self._opened.close()

    def prefer(self, compared: Compared, vote: str) -> None:
        """Keep a vote: the number of the better answer from 1, `tie` or `bad` (all of them).

        Raises:
            DataError: another vote, or an answer without text, which nothing can be trained on.
        """
        count = len(compared.answers)
        if any(not split_thought(text)[1].strip() for text in compared.answers):
            raise DataError("an answer is empty; a comparison with nothing teaches nothing.")
        candidate = Candidate(
            prompt=compared.prompt,
            responses=list(compared.answers),
            models=list(compared.models),
            columns={"source": "chat"},
        )
        ranks = _ranks(vote, count)
        [item] = self._store().add_candidates([candidate])
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

    def thumb(self, prompt: Prompt, answer: str, model: str, *, up: bool) -> None:
        """Keep a thumb on one answer.

        Raises:
            DataError: an empty answer.
        """
        if not split_thought(answer)[1].strip():
            raise DataError("an answer that is marked is not empty.")
        candidate = Candidate(
            prompt=prompt, responses=[answer], models=[model], columns={"source": "chat"}
        )
        item = self._store().add_marked(candidate)
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

    def _store(self) -> LabelStore:
        with self._lock:
            if self._opened is None:
                self._opened = LabelStore(self.location, create=True)
            return self._opened

    def _submit(self, label: Label) -> None:
        with self._lock:
            before = self._given.pop(label.item_id, None)
        if before is not None:
            self._store().undo(before)
        event = self._store().submit(label)
        with self._lock:
            self._given[label.item_id] = event


def prompt_of(messages: Sequence[Message]) -> Prompt:
    """The turns as a row has them: one question alone is a string."""
    if len(messages) == 1 and messages[0]["role"] == "user":
        return str(messages[0]["content"])
    return list(messages)


def _ranks(vote: str, count: int) -> list[int]:
    if vote in (TIE, BOTH_BAD):
        return [1] * count
    if not vote.isdecimal() or not 1 <= int(vote) <= count:
        raise DataError(f"a vote is 1 to {count}, {TIE} or {BOTH_BAD}, not {vote!r}.")
    return [1 if index == int(vote) - 1 else 2 for index in range(count)]
