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
STOP = "stop"  # ending of a response that its model ended


@dataclass(frozen=True, kw_only=True)
class ResponseOrigin:
    """How a response came to be; a response that is not the model's own is marked in exports."""

    ending: str = STOP  # or `length`: at the maximum length; `stopped`: by the user
    steered: bool = False  # whether the user chose one of its tokens


@dataclass(frozen=True, kw_only=True)
class ComparedResponses:
    """Responses to one prompt in the order shown; thoughts stay before them."""

    prompt: Prompt
    responses: Sequence[str]
    models: Sequence[str]
    blind: bool  # whether the models' names were hidden
    origins: Sequence[ResponseOrigin] = ()  # one a response; () if all are the models' own


@dataclass(frozen=True, kw_only=True)
class Voter:
    """Who votes: a name in the label store, and the browser in which it was entered.

    A later vote of the same voter replaces the earlier one. Another browser with the same name
    cannot replace it.
    """

    name: str
    browser: str = ""

    def __post_init__(self) -> None:
        check_name(self.name)
        object.__setattr__(self, "name", normalized_name(self.name))


class Votes:
    """The votes of a session. A second vote on the same responses replaces the first.

    The store is created with the first vote: chatting without votes leaves no file.

    Args:
        location: the label store: a file or database URL.
        annotator: whose votes these are, where a vote names nobody else.
    """

    def __init__(self, location: str | Path, annotator: str) -> None:
        self.location, self.voter = str(location), Voter(name=annotator)
        self._store: LabelStore | None = None
        self._lock = threading.Lock()  # requests of a server come on several threads
        self._events: dict[tuple[Voter, int], int] = {}  # voter, item -> event of this session

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

    def vote(self, compared: ComparedResponses, vote: str, voter: Voter | None = None) -> None:
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
        ranks = ranks_of_vote(vote, count)
        [item] = self._open_store().add_candidates([candidate])
        # Other models may have written the same texts before, and their item is used again.
        extra: dict[str, object] = {"blind": compared.blind, "models": list(compared.models)}
        extra |= origin_fields(compared.origins)
        voter = voter or self.voter
        self._submit(
            voter,
            Label(
                item_id=item,
                annotator=voter.name,
                ranks=ranks,
                order_shown=list(range(count)),
                extra=extra | ({"both_bad": True} if vote == BOTH_BAD else {}),
            ),
        )

    def thumb(
        self,
        prompt: Prompt,
        response: str,
        model: str,
        *,
        up: bool,
        origin: ResponseOrigin | None = None,
        voter: Voter | None = None,
    ) -> None:
        """Store a thumb on one response.

        Args:
            prompt: what it responds to.
            response: its text, with its thought before it.
            model: the name of its model.
            up: whether the thumb is up.
            origin: how it came to be; None if it is the model's own.
            voter: whose thumb it is, if not that of the session's annotator.

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
        voter = voter or self.voter
        self._submit(
            voter,
            Label(
                item_id=item,
                annotator=voter.name,
                ranks=[1],
                order_shown=[0],
                purpose=THUMB,
                extra={
                    "overall": [UP if up else DOWN],
                    **origin_fields([origin] if origin else []),
                },
            ),
        )

    def _open_store(self) -> LabelStore:
        with self._lock:
            if self._store is None:
                self._store = LabelStore(self.location, create=True)
            return self._store

    def _submit(self, voter: Voter, label: Label) -> None:
        place = (voter, label.item_id)
        with self._lock:
            previous = self._events.pop(place, None)
        if previous is not None:
            self._open_store().undo(previous)
        event = self._open_store().submit(label)
        with self._lock:
            self._events[place] = event


def as_prompt(messages: Sequence[Message]) -> Prompt:
    """Messages as the prompt of a row: a single user message becomes a string."""
    if len(messages) == 1 and messages[0]["role"] == "user":
        return str(messages[0]["content"])
    return list(messages)


def origin_fields(origins: Sequence[ResponseOrigin]) -> dict[str, object]:
    """Fields of a label; none if every response is its model's own and complete."""
    if all(origin == ResponseOrigin() for origin in origins):
        return {}
    return {
        "endings": [origin.ending for origin in origins],
        "steered": [origin.steered for origin in origins],
    }


def ranks_of_vote(vote: str, count: int) -> list[int]:
    """Ranks of `count` responses for the number of the better one, `tie` or `bad`.

    Raises:
        DataError: another vote.
    """
    if vote in (TIE, BOTH_BAD):
        return [1] * count
    if not vote.isdecimal() or not 1 <= int(vote) <= count:
        raise DataError(
            f"unknown vote {vote!r}; use 1 to {count}, {TIE} or {BOTH_BAD}.", code="bad-label"
        )
    return [1 if index == int(vote) - 1 else 2 for index in range(count)]
