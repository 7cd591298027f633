"""How sources that take time are called: at once, how long, how often, and what is stored."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CallOptions:
    """Limits of calls of servers, judges, async functions and `verifier:code`."""

    concurrency: int = 32  # calls of each source at a time
    timeout: float = 60.0  # seconds of one attempt
    retries: int = 3  # attempts after the first
    cache: str | None = None  # SQLite file of scores
    run_code: bool = False  # whether verifier:code may run what the policy writes
