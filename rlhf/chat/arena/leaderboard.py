"""The leaderboard: which model visitors prefer."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rlhf.chat.arena.votes import ArenaVotes, arena_labels
from rlhf.labels.model_results import ModelResult, ModelResults, games_of, model_results
from rlhf.labels.records import LABEL

MAX_AGE = 60.0  # seconds; intervals of many votes take long to compute


@dataclass(frozen=True, kw_only=True)
class Board:
    """The results, and what was left out of them."""

    results: ModelResults
    votes: int  # that count
    discounted: int
    by_rule: Mapping[str, int]  # rule -> votes that break it; a vote may break several

    def rank(self, one: ModelResult) -> int | None:
        """1 plus the number of models whose whole interval of the strength is above this one's.

        None for a model with too few questions for an interval.
        """
        if not one.strength.has_interval:
            return None
        # Without an interval the lower end is -infinity, so such a model is above no other.
        return 1 + sum(other.strength.low > one.strength.high for other in self.results.models)


class Leaderboard:
    """The board of a store, at most MAX_AGE seconds old."""

    def __init__(self, votes: ArenaVotes, clock: Callable[[], float] = time.monotonic) -> None:
        self._votes, self._clock = votes, clock
        self._lock = threading.Lock()
        self._computed: tuple[float, Board] | None = None

    def get(self) -> Board:
        """The kept board, or a new one."""
        with self._lock:
            if self._computed is None or self._clock() - self._computed[0] >= MAX_AGE:
                self._computed = (self._clock(), board_of(self._votes))
            return self._computed[1]


def board_of(votes: ArenaVotes) -> Board:
    """The board of all votes in the store."""
    items = {item.id: item for item in votes.store.items()}
    labels = arena_labels(votes.store)
    counting = [label for label in labels if label.purpose == LABEL]
    rules = Counter(rule for label in labels for rule in _texts(label.extra.get("discounted")))
    return Board(
        results=model_results(games_of(items, counting)),
        votes=len(counting),
        discounted=len(labels) - len(counting),
        by_rule=rules,
    )


def _texts(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []
