"""How long an annotator may hold an item without a sign of life.

Leases are counted on this process's monotonic clock and live in its memory: a clock that is set
forward or back by an hour ends none early and lets none linger. A claim that no heartbeat has
been heard of since the process started is given a whole lease from when it was first asked for.
"""

import time
from collections.abc import Callable


class Leases:
    """Deadlines of claims, by claim id."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._deadlines: dict[int, float] = {}

    def renew(self, claim_id: int) -> None:
        """A sign of life."""
        self._deadlines[claim_id] = self._clock() + self.seconds

    def expired(self, claim_id: int) -> bool:
        """Whether the lease has run out; a claim that is not known yet begins one."""
        if claim_id not in self._deadlines:
            self.renew(claim_id)
        return self._clock() > self._deadlines[claim_id]

    def drop(self, claim_id: int) -> None:
        """Forget a claim that has ended."""
        self._deadlines.pop(claim_id, None)
