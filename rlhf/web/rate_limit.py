"""Rate limits per address: failed logins, questions of visitors."""

import hashlib
import threading
import time
from collections.abc import Callable


class RateLimit:
    """Events per address within a sliding window, on a monotonic clock."""

    def __init__(
        self, limit: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit, self._seconds, self._clock = limit, seconds, clock
        self._times: dict[str, list[float]] = {}
        self._cleaned = clock()  # when addresses without recent events were last forgotten
        self._lock = threading.Lock()

    def count(self, address: str) -> None:
        """Record an event; forgets those that left the window."""
        now = self._clock()
        with self._lock:
            if now - self._cleaned >= self._seconds:
                recent = {key: self._recent(times, now) for key, times in self._times.items()}
                self._times = {key: times for key, times in recent.items() if times}
                self._cleaned = now
            key = _key(address)
            self._times[key] = [*self._recent(self._times.get(key, []), now), now]

    def is_exceeded(self, address: str) -> bool:
        """Whether the address has to wait."""
        times = self._times.get(_key(address), [])
        return len(self._recent(times, self._clock())) >= self._limit

    def _recent(self, times: list[float], now: float) -> list[float]:
        return [t for t in times if now - t < self._seconds]


def _key(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()
