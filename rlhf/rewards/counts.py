"""How often the sources of a reward were called, and with which outcome."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(kw_only=True)
class SourceCounts:
    """Counts of one source."""

    responses: int = 0  # that it was to score
    unusable: int = 0  # that got no finite score
    calls: int = 0  # attempts: requests, or calls of an async function
    retries: int = 0  # of these, after a failed one
    timeouts: int = 0
    cached: int = 0  # scores from the cache

    def add(self, other: "SourceCounts") -> None:
        """Add the counts of another process."""
        self.responses += other.responses
        self.unusable += other.unusable
        self.calls += other.calls
        self.retries += other.retries
        self.timeouts += other.timeouts
        self.cached += other.cached


class RewardCounts:
    """Counts by source since they were last taken."""

    def __init__(self) -> None:
        self._by_source: dict[str, SourceCounts] = {}

    def of(self, source: str) -> SourceCounts:
        """The counts of a source, to change."""
        return self._by_source.setdefault(source, SourceCounts())

    def take(self) -> Mapping[str, SourceCounts]:
        """The counts of each source, which start again at 0."""
        taken, self._by_source = self._by_source, {}
        return taken
