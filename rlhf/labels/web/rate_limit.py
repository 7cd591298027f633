"""Rate limit of failed logins per address."""

import hashlib
import threading
import time
from collections.abc import Callable


class RateLimit:
    """Failures per address within a sliding window, on a monotonic clock."""

    def __init__(
        self, limit: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit, self._seconds, self._clock = limit, seconds, clock
        self._failures: dict[str, list[float]] = {}
        self._lock = threading.Lock()

    def count_failure(self, address: str) -> None:
        """Record a failure; forgets those that left the window."""
        now = self._clock()
        with self._lock:
            recent = {
                key: [t for t in times if now - t < self._seconds]
                for key, times in self._failures.items()
            }
            self._failures = {key: times for key, times in recent.items() if times}
            self._failures.setdefault(_key(address), []).append(now)

    def is_exceeded(self, address: str) -> bool:
        """Whether the address has to wait."""
        now = self._clock()
        times = self._failures.get(_key(address), [])
        return sum(now - t < self._seconds for t in times) >= self._limit


def _key(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()
