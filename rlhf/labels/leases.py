"""How long an annotator may hold an item without a heartbeat.

Leases use this process's monotonic clock and live in its memory, so a system clock that jumps by
an hour neither ends nor prolongs one. After a restart every claim gets a full lease, counted from
the first time that it is checked.
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
        """Start a full lease now."""
        self._deadlines[claim_id] = self._clock() + self.seconds

    def expired(self, claim_id: int) -> bool:
        """Whether the lease has run out; an unknown claim starts one."""
        if claim_id not in self._deadlines:
            self.renew(claim_id)
        return self._clock() > self._deadlines[claim_id]

    def drop(self, claim_id: int) -> None:
        """Forget a claim that has ended."""
        self._deadlines.pop(claim_id, None)
