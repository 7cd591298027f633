"""A queue over small items, a clock that a test sets, and annotators who label everything."""

from rlhf.labels.leases import Leases
from rlhf.labels.queue import Queue
from rlhf.labels.records import Candidate, Judgment
from rlhf.labels.selection import QueueConfig


class Clock:
    """A monotonic clock that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def queue_of(store, count=3, clock=None, **config) -> Queue:
    store.add_candidates([Candidate(prompt=f"p{i}", responses=("a", "b")) for i in range(count)])
    leases = Leases(60.0, clock) if clock else None
    return Queue(store, QueueConfig(**config), leases)


def judgment(ranks=(1, 2), **extra) -> Judgment:
    return Judgment(ranks=list(ranks), seconds=2.0, extra=extra)


def label_all(queue: Queue, annotator: str) -> list[int]:
    """Label until nothing is left; returns the item ids in their order."""
    items = []
    while (claim := queue.next(annotator)) is not None:
        queue.submit(annotator, claim.id, judgment(), request_key=f"k{claim.id}")
        items.append(claim.item.id)
    return items
