"""Score responses by sources that take time: many calls at once, with timeouts and retries.

All calls run in one event loop, in a thread that lives as long as the reward: a client that an
async function keeps open stays usable from one iteration to the next.
"""

import asyncio
import math
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from rlhf.rewards.cache import ScoreCache, cache_key
from rlhf.rewards.case import Case, NoScore
from rlhf.rewards.counts import RewardCounts, SourceCounts
from rlhf.rewards.number import number_of
from rlhf.rewards.options import CallOptions

FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0  # seconds before the first retry; at most
NOT_CALLED = "not called: another response has no score"
T = TypeVar("T")

Outcome = tuple[object, str]
"""A value, which may be unusable, and why there is none ("" where there is one)."""


@dataclass(frozen=True, kw_only=True)
class AsyncScorer:
    """A source that is called for a few responses at a time.

    score: the values of these cases; raises `NoScore`, or any other exception.
    """

    score: Callable[[Sequence[Case]], Awaitable[object]]
    cases_per_call: int = 1
    identity: str | None = None  # what the cache knows it by; None: its scores are not stored
    mean: float = 0.0  # of its values, for normalize_reward
    std: float = 1.0


def in_threads(
    score: Callable[[Sequence[Case]], object],
) -> Callable[[Sequence[Case]], Awaitable[object]]:
    """A blocking function as one that the loop's threads run."""

    async def run(cases: Sequence[Case]) -> object:
        return await asyncio.get_running_loop().run_in_executor(None, score, cases)

    return run


class ConcurrentCalls:
    """Calls sources in a loop of its own.

    Args:
        options: how many calls at a time, their timeout and retries, and the cache.
        counts: where calls are counted.
        stop: whether the first response without a score ends the other calls.
    """

    def __init__(self, options: CallOptions, counts: RewardCounts, *, stop: bool) -> None:
        self.options, self.counts, self.stop = options, counts, stop
        self._loop: asyncio.AbstractEventLoop | None = None
        self._cache: ScoreCache | None = None

    def start(
        self, scorers: Mapping[str, AsyncScorer], cases: Sequence[Case]
    ) -> "Future[Mapping[str, list[Outcome]]]":
        """Begin to score the cases with every scorer; the outcomes by source."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            # A thread for each call: one that waited for a thread would already be timed.
            threads = self.options.concurrency * len(scorers)
            pool = ThreadPoolExecutor(threads, thread_name_prefix="rlhf-reward")
            self._loop.set_default_executor(pool)
            run = self._loop.run_forever
            threading.Thread(target=run, name="rlhf-reward-loop", daemon=True).start()
        return asyncio.run_coroutine_threadsafe(self._all(scorers, cases), self._loop)

    async def _all(
        self, scorers: Mapping[str, AsyncScorer], cases: Sequence[Case]
    ) -> Mapping[str, list[Outcome]]:
        work = [self._source(name, scorer, cases) for name, scorer in scorers.items()]
        return dict(zip(scorers, await _together(work), strict=True))

    async def _source(self, name: str, scorer: AsyncScorer, cases: Sequence[Case]) -> list[Outcome]:
        """The outcome of each case by one source, from the cache where it has them."""
        counts = self.counts.of(name)
        outcomes: list[Outcome] = [(math.nan, NOT_CALLED)] * len(cases)
        keys = self._keys(scorer, cases)
        scores = self._opened_cache().get(keys) if keys else {}
        for row, key in enumerate(keys):
            if key in scores:
                outcomes[row] = scores[key], ""
                counts.cached += 1
        rows = [row for row in range(len(cases)) if not keys or keys[row] not in scores]
        size, gate = scorer.cases_per_call, asyncio.Semaphore(self.options.concurrency)
        ended = False

        async def call(part: Sequence[int]) -> None:
            nonlocal ended
            async with gate:
                if ended:
                    return
                results = await self._outcomes(scorer, [cases[row] for row in part], counts)
            for row, outcome in zip(part, results, strict=True):
                outcomes[row] = outcome
            if keys:
                self._store({keys[row]: outcomes[row] for row in part})
            if self.stop and not all(_is_usable(outcome) for outcome in results):
                ended = True
                raise _Unusable(outcomes)

        try:
            await _together([call(rows[at : at + size]) for at in range(0, len(rows), size)])
        except _Unusable as first:
            return first.outcomes
        return outcomes

    async def _outcomes(
        self, scorer: AsyncScorer, cases: Sequence[Case], counts: SourceCounts
    ) -> list[Outcome]:
        """The outcomes of one call; of a rejected call with several cases, those of each alone."""
        try:
            return await self._attempts(scorer, cases, counts)
        except NoScore as error:
            if self.stop or error.lost or len(cases) == 1:
                return [(math.nan, str(error))] * len(cases)
        alone = [await self._outcomes(scorer, [case], counts) for case in cases]
        return [outcome for outcomes in alone for outcome in outcomes]

    async def _attempts(
        self, scorer: AsyncScorer, cases: Sequence[Case], counts: SourceCounts
    ) -> list[Outcome]:
        """The values of one call, with retries.

        Raises:
            NoScore: no attempt gave values.
        """
        wait, timeout, failure = 0.0, self.options.timeout, NoScore("")
        for attempt in range(self.options.retries + 1):
            if attempt:
                counts.retries += 1
                await asyncio.sleep(wait)
            counts.calls += 1
            wait = min(FIRST_WAIT * 2**attempt, LONGEST_WAIT)
            try:
                values = await asyncio.wait_for(scorer.score(cases), timeout)
                return _checked(values, len(cases))
            except TimeoutError:
                counts.timeouts += 1
                failure = NoScore(f"no answer within {timeout:g} s", again=True, lost=True)
            except NoScore as error:
                failure = error
                wait = wait if error.wait is None else min(error.wait, LONGEST_WAIT)
            except Exception as error:  # of a function that a user wrote
                failure = NoScore(f"{type(error).__name__}: {error}", again=True)
            if not failure.again:
                raise failure
        attempts = self.options.retries + 1
        times = f" ({attempts} attempts)" if attempts > 1 else ""
        raise NoScore(f"{failure}{times}", lost=failure.lost)

    def _keys(self, scorer: AsyncScorer, cases: Sequence[Case]) -> list[str]:
        """The cases' keys in the cache; none without a cache."""
        if self.options.cache is None or scorer.identity is None:
            return []
        return [cache_key(scorer.identity, case) for case in cases]

    def _opened_cache(self) -> ScoreCache:
        """The cache, opened on the loop's thread."""
        assert self.options.cache is not None
        if self._cache is None:
            self._cache = ScoreCache(self.options.cache)
        return self._cache

    def _store(self, outcomes: Mapping[str, Outcome]) -> None:
        self._opened_cache().put(
            {key: number_of(value) for key, (value, _) in outcomes.items()
             if math.isfinite(number_of(value))}
        )  # fmt: skip


class _Unusable(Exception):
    """Ends the calls of a source: a response has no score."""

    def __init__(self, outcomes: list[Outcome]) -> None:
        super().__init__()
        self.outcomes = outcomes


def _is_usable(outcome: Outcome) -> bool:
    value, reason = outcome
    return not reason and math.isfinite(number_of(value))


async def _together(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results, in order; the first exception cancels the others."""
    if not work:
        return []
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for failed in filter(_failed, tasks):
            failed.result()
        return [task.result() for task in tasks]
    finally:
        for task in tasks:
            task.cancel()


def _failed(task: "asyncio.Future[Any]") -> bool:
    return task.done() and not task.cancelled() and task.exception() is not None


def _checked(values: object, count: int) -> list[Outcome]:
    """The values as outcomes.

    Raises:
        NoScore: something other than `count` values.
    """
    is_list = isinstance(values, Sized) and not isinstance(values, str | bytes | Mapping)
    size = len(values) if isinstance(values, Sized) and is_list else type(values).__name__
    if size != count:
        raise NoScore(f"it returned {size} for {count}; return a list with one number for each")
    listed: Any = values
    return [(value, "") for value in listed]
