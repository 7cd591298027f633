"""The driver: annotators label at full speed while the server is killed and started again."""

import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from benchmarks.campaigns.kills import Aborted, Run, insist, pause, work_under_kills
from benchmarks.campaigns.tool import RESPONSES, Annotator, Label, LoggedOut, Tool

LOCKED = "database is locked"  # what SQLite reports to a program that waited too long
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The size of a run."""

    annotators: int
    items: int
    overlap: int  # annotators per item
    kills: int

    @property
    def labels(self) -> int:
        """Labels of the whole project."""
        return self.items * self.overlap


@dataclass(frozen=True, kw_only=True)
class Losses:
    """Differences between the labels that a tool accepted and those that it has in the end.

    Labels are compared by annotator and item. If an item was labelled again by the same annotator,
    the last label counts.
    """

    accepted: int  # pairs of annotator and item
    lost: int  # accepted, and nothing is stored
    changed: int  # accepted, and what is stored has another order
    doubled: int  # labels stored in addition to the first of a pair
    asked_again: int  # accepted labels of a pair that had one before
    beyond: int  # annotators of an item beyond the planned number


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run counted."""

    losses: Losses
    kills: int
    failures: Counter[str]
    label_ms: float  # median: from submitting to the next item, without failures
    locked: int  # lines of the server's output with LOCKED
    seconds: float


class Worker:
    """An annotator who labels until the run ends."""

    def __init__(self, annotator: Annotator, run: Run) -> None:
        self.accepted: list[Label] = []
        self.failures: Counter[str] = Counter()
        self.label_seconds: list[float] = []
        self._annotator, self._run = annotator, run
        self._draw = random.Random(annotator.name)

    def work(self) -> None:
        self._insist(self._annotator.log_in)
        item = self._insist(self._annotator.next_item)
        while not self._run.finished.is_set():
            if item is None:
                time.sleep(0.3)  # a place may become free
                item = self._insist(self._annotator.next_item)
            else:
                item = self._label(item)

    def _label(self, item: str) -> str | None:
        """Rank an item; returns the next one."""
        order = tuple(self._draw.sample(RESPONSES, len(RESPONSES)))
        start, failures = time.perf_counter(), self.failures.total()
        if self._insist(lambda: self._annotator.submit(item, order)):
            self.accepted.append(Label(self._annotator.name, item, order))
        else:
            self.failures["rejected"] += 1
        following = self._insist(self._annotator.next_item)
        if self.failures.total() == failures:
            self.label_seconds.append(time.perf_counter() - start)
        return following

    def _insist(self, request: Callable[[], Result]) -> Result:
        """The result of a request; an annotator who was logged out logs in again.

        Raises:
            Aborted: the run is over.
        """
        while True:
            try:
                return insist(request, self._run, self.failures, self._draw)
            except LoggedOut:
                self.failures["logged_out"] += 1
            if self._run.aborted.is_set():  # a server that rejects every login answers forever
                raise Aborted
            pause(self._draw)
            self._insist(self._annotator.log_in)


def hammer(tool: Tool, plan: Plan) -> Outcome:
    """Run a project until all its labels are accepted, none are any more, or time is up."""
    items = [f"item-{number:04}" for number in range(plan.items)]
    names = [f"person{number:02}" for number in range(plan.annotators)]
    run = Run()
    with tool.project(items, names, plan.overlap) as server:
        workers = [Worker(tool.annotator(name), run) for name in names]
        kills, seconds = work_under_kills(
            [worker.work for worker in workers],
            run,
            server,
            done=lambda: _count_pairs(workers),
            total=plan.labels,
            kills=plan.kills,
        )
        stored = tool.stored_labels()
        output = server.output()
    accepted = [label for worker in workers for label in worker.accepted]
    times = sorted(value for worker in workers for value in worker.label_seconds)
    return Outcome(
        losses=losses(accepted, stored, plan.overlap),
        kills=kills,
        failures=sum((worker.failures for worker in workers), Counter()),
        label_ms=1000 * times[len(times) // 2] if times else float("nan"),
        locked=sum(LOCKED in line for line in output.splitlines()),
        seconds=seconds,
    )


def _count_pairs(workers: Sequence[Worker]) -> int:
    """Number of pairs of annotator and item with an accepted label."""
    return sum(len({label.item for label in worker.accepted}) for worker in workers)


def losses(accepted: Sequence[Label], stored: Sequence[Label], overlap: int) -> Losses:
    """Compare the accepted labels, oldest first, with the stored ones."""
    expected = {(label.annotator, label.item): label.order for label in accepted}
    found: defaultdict[tuple[str, str], list[tuple[str, ...]]] = defaultdict(list)
    for label in stored:
        found[label.annotator, label.item].append(label.order)
    annotators = Counter(item for _, item in found)
    return Losses(
        accepted=len(expected),
        lost=len(expected.keys() - found.keys()),
        changed=sum(order not in found[pair] for pair, order in expected.items() if pair in found),
        doubled=len(stored) - len(found),
        asked_again=len(accepted) - len(expected),
        beyond=sum(max(0, count - overlap) for count in annotators.values()),
    )
