"""Battles: one question, answered by two models whose names are hidden until the vote."""

import random
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rlhf.chat.arena.config import MAX_RUNNING
from rlhf.chat.arena.rules import Reader
from rlhf.chat.backend import RequestGroup
from rlhf.data.tokenization.thoughts import with_thought

MAX_BATTLES = 10_000  # the oldest are forgotten


@dataclass(kw_only=True, eq=False)
class Battle:
    """A question and its two answers, the left one first."""

    id: str
    visitor: str  # who asked; the vote is theirs
    question: str
    models: Sequence[str]  # names on the server
    texts: list[str] = field(default_factory=lambda: ["", ""])
    thoughts: list[str] = field(default_factory=lambda: ["", ""])
    endings: list[str] = field(default_factory=lambda: ["", ""])  # `stop` or `length`
    reader: Reader = field(default_factory=Reader)
    opens_at: float | None = None  # when a vote is possible; None: the answers are not complete
    groups: Sequence[RequestGroup] = ()  # the running requests
    is_early: bool = False  # whether a vote was sent before it was possible
    is_decided: bool = False

    @property
    def responses(self) -> list[str]:
        """The answers as they are stored: each with its thought before it."""
        return [with_thought(*both) for both in zip(self.thoughts, self.texts, strict=True)]

    @property
    def is_running(self) -> bool:
        """Whether an answer is being generated."""
        return any(group.is_open for group in self.groups)

    @property
    def is_empty(self) -> bool:
        """Whether an answer has no text, so that nothing can be compared."""
        return not all(text.strip() for text in self.texts)


class TooEarly(Exception):
    """A vote before it is possible."""


class Battles:
    """The battles of a server, in memory: one that was not decided ends with the process.

    Args:
        names: the models on the server.
        draw: draws the models and their sides.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        draw: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.names, self.clock = list(names), clock
        self._draw = draw or secrets.SystemRandom()
        self._battles: dict[str, Battle] = {}
        self._lock = threading.Lock()  # votes come on several threads

    def begin(self, visitor: str, question: str) -> Battle:
        """A battle of two random models, each side equally likely."""
        left, right = self._draw.sample(self.names, 2)
        battle = Battle(
            id=secrets.token_hex(16), visitor=visitor, question=question, models=(left, right)
        )
        with self._lock:
            self._battles[battle.id] = battle
            while len(self._battles) > MAX_BATTLES:
                del self._battles[next(iter(self._battles))]
        return battle

    def is_busy(self, visitor: str) -> bool:
        """Whether enough questions of the visitor are being answered."""
        with self._lock:
            own = [one for one in self._battles.values() if one.visitor == visitor]
        return sum(battle.is_running for battle in own) >= MAX_RUNNING

    def get(self, key: str) -> Battle | None:
        """The battle with this id, unless it was forgotten."""
        return self._battles.get(key)

    def show(self, battle: Battle, side: int, text: str) -> None:
        """Add a text to an answer as it is sent to the visitor."""
        battle.texts[side] += text
        battle.reader.read(len(text), self.clock())

    def complete(self, battle: Battle) -> float:
        """Seconds until a vote is possible, now that both answers are complete."""
        now = self.clock()
        battle.opens_at = battle.reader.opens_at(now)
        return battle.opens_at - now

    def decide(self, battle: Battle) -> bool:
        """Whether this is the first vote; it is the only one that is taken.

        Raises:
            TooEarly: the answers are not complete, or cannot have been read.
        """
        with self._lock:
            if battle.opens_at is None or self.clock() < battle.opens_at:
                battle.is_early = True
                raise TooEarly
            is_first, battle.is_decided = not battle.is_decided, True
            return is_first
