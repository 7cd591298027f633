"""Progress of a campaign by annotator and day. Working time is activity on the page, not the clock:
the page measures the seconds in which an annotator reads, clicks or types.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from rlhf.labels.annotator_stats import AnnotatorStats
from rlhf.labels.people import Person, everyone, person_of
from rlhf.labels.review.history import ItemHistory
from rlhf.labels.schema import claims
from rlhf.labels.selection import QueueConfig, done_and_left, obstacle
from rlhf.labels.shares import Share
from rlhf.labels.store import LabelStore

DAYS = 14  # shown, up to today
NO_SHARE = Share(float("nan"), 0)


@dataclass(frozen=True, kw_only=True)
class Work:
    """Labels and skips of one person."""

    labels: int = 0
    skips: int = 0
    seconds: float = 0.0  # of both; events without a measured time add nothing

    def plus(self, other: "Work") -> "Work":
        """The sum of both."""
        return Work(
            labels=self.labels + other.labels,
            skips=self.skips + other.skips,
            seconds=self.seconds + other.seconds,
        )


@dataclass(frozen=True, kw_only=True)
class PersonProgress:
    """One person's row."""

    person: Person
    work: Work
    today: Work
    left: int  # items that are open to them, up to their cap
    obstacle: str  # why they get none: "paused", "cap", "failed", "role", or ""
    last_seen: float | None  # seconds since 1970 of their last label, skip or new item
    agreement: Share
    gold: Share
    guideline: int  # version that their last label followed; 0 without one


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The campaign's progress."""

    people: Sequence[PersonProgress]
    days: Sequence[str]  # ISO dates, oldest first, up to today
    by_day: Mapping[str, Mapping[str, Work]]  # day -> name -> work; "" for all people

    @property
    def busiest(self) -> int:
        """Labels of all people on the busiest day, at least 1."""
        return max([1, *(self.by_day[day][""].labels for day in self.days)])


def progress_of(
    store: LabelStore,
    histories: Mapping[int, ItemHistory],
    stats: Sequence[AnnotatorStats],
    config: QueueConfig,
    *,
    now: float,
) -> Progress:
    """Progress of everybody who was invited or has labelled.

    Args:
        store: people and open items.
        histories: what happened to each item.
        stats: agreement and gold accuracy by annotator.
        config: of the queue.
        now: the end of the last day, in seconds since 1970.
    """
    days = [day_of(now - 86_400 * back) for back in range(DAYS)][::-1]
    by_person = work_by_day(histories.values())
    shares = {one.name: one for one in stats}
    with store.read() as connection:
        names = [person.name for person in everyone(connection)]
        names += sorted(set(by_person) - set(names))
        seen = _last_seen(connection, histories.values())
        followed = _last_guidelines(histories.values())
        rows = []
        for name in names:
            person = person_of(connection, name)
            own, of = by_person.get(name, {}), shares.get(name)
            rows.append(
                PersonProgress(
                    person=person,
                    work=_sum(own.values()),
                    today=own.get(days[-1], Work()),
                    left=done_and_left(connection, person, config)[1],
                    obstacle=obstacle(connection, person, config),
                    last_seen=seen.get(name),
                    agreement=of.agreement if of else NO_SHARE,
                    gold=of.gold_items if of else NO_SHARE,
                    guideline=followed.get(name, 0),
                )
            )
    by_day = {
        day: {name: own[day] for name, own in by_person.items() if day in own} for day in days
    }
    return Progress(
        people=rows,
        days=days,
        by_day={day: {**of, "": _sum(of.values())} for day, of in by_day.items()},
    )


def work_by_day(histories: Iterable[ItemHistory]) -> dict[str, dict[str, Work]]:
    """Annotator -> day -> labels, skips and seconds that were not undone.

    A label that is taken back and given again measures the time of both, so the first is not
    counted.
    """
    work: dict[str, dict[str, Work]] = {}
    for history in histories:
        for label in history.standing:
            seconds = label.seconds or 0.0
            _add(work, label.annotator, label.at, Work(labels=1, seconds=seconds))
        for skip in history.skips.values():
            measured = skip.payload.get("seconds")
            seconds = float(measured) if isinstance(measured, int | float) else 0.0
            _add(work, skip.annotator, skip.at, Work(skips=1, seconds=seconds))
    return work


def work_rows(histories: Iterable[ItemHistory]) -> list[dict[str, object]]:
    """One row per day and annotator, as `work_by_day` counts, the oldest day first."""
    rows = [
        {
            "day": day,
            "annotator": name,
            "labels": work.labels,
            "skips": work.skips,
            "seconds": round(work.seconds, 3),
        }
        for name, days in work_by_day(histories).items()
        for day, work in days.items()
    ]
    return sorted(rows, key=lambda row: (str(row["day"]), str(row["annotator"])))


def _last_guidelines(histories: Iterable[ItemHistory]) -> dict[str, int]:
    """Annotator -> version of the guideline that their last label followed."""
    labels = [label for history in histories for label in history.standing]
    ordered = sorted(labels, key=lambda label: label.event_id)
    return {label.annotator: label.guideline_version for label in ordered}


def _add(work: dict[str, dict[str, Work]], name: str, at: float, more: Work) -> None:
    days = work.setdefault(name, {})
    days[day_of(at)] = days.get(day_of(at), Work()).plus(more)


def day_of(at: float) -> str:
    """The ISO date of a time in seconds since 1970, in the server's time zone."""
    return time.strftime("%Y-%m-%d", time.localtime(at))


def _sum(parts: Iterable[Work]) -> Work:
    total = Work()
    for part in parts:
        total = total.plus(part)
    return total


def _last_seen(connection: sa.Connection, histories: Iterable[ItemHistory]) -> dict[str, float]:
    """Name -> time of the last event or claim."""
    query = sa.select(claims.c.annotator, sa.func.max(claims.c.at)).group_by(claims.c.annotator)
    seen = {row[0]: float(row[1]) for row in connection.execute(query)}
    for history in histories:
        for event in history.events:
            seen[event.annotator] = max(seen.get(event.annotator, 0.0), event.at)
    return seen
