"""How often an address may fail to log in."""

import hashlib
import threading
import time
from collections.abc import Callable


class RateLimit:
    """Failures by address within a sliding time, on a clock that nobody sets."""

    def __init__(
        self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most, self._seconds, self._clock = most, seconds, clock
        self._failures: dict[str, list[float]] = {}
        self._lock = threading.Lock()

    def count(self, address: str) -> None:
        """One more failure."""
        now = self._clock()
        with self._lock:
            kept = {
                a: [t for t in times if now - t < self._seconds]
                for a, times in self._failures.items()
            }
            self._failures = {a: times for a, times in kept.items() if times}
            self._failures.setdefault(_key(address), []).append(now)

    def spent(self, address: str) -> bool:
        """Whether the address has to wait."""
        now = self._clock()
        times = self._failures.get(_key(address), [])
        return sum(now - t < self._seconds for t in times) >= self._most


def _key(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()
