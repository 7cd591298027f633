"""Annotators work in threads while their server is killed and started again."""

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TypeVar

import httpx

from benchmarks.campaigns.tool import Server, ServerError

SECONDS = 1200.0  # a run ends after this time
STALLED = 60.0  # or if the number of finished labels has not changed for this time
GRACE = 60.0  # for the last requests of a run
Result = TypeVar("Result")


class Aborted(Exception):
    """The run is over, and the server does not do what was asked."""


@dataclass(frozen=True)
class Run:
    """What the driver tells the annotators."""

    finished: threading.Event = field(default_factory=threading.Event)  # take no further item
    aborted: threading.Event = field(default_factory=threading.Event)  # send no request again


def insist(
    request: Callable[[], Result], run: Run, failures: Counter[str], draw: random.Random
) -> Result:
    """The result of a request, which is sent until the server answers it.

    Adds to `failures`: `no_reply` and `server_errors`.

    Raises:
        Aborted: the request failed, and the run is over.
    """
    while True:
        try:
            return request()
        except httpx.TransportError:
            failures["no_reply"] += 1
        except ServerError:
            failures["server_errors"] += 1
        if run.aborted.is_set():
            raise Aborted
        pause(draw)


def pause(draw: random.Random) -> None:
    """Wait before a request is sent again."""
    time.sleep(0.05 + 0.1 * draw.random())


def work_under_kills(
    annotators: Sequence[Callable[[], None]],
    run: Run,
    server: Server,
    *,
    done: Callable[[], int],
    total: int,
    kills: int,
) -> tuple[int, float]:
    """Kill the server while annotators work; returns the number of kills and the seconds.

    Args:
        annotators: each works in a thread of its own until `run.finished` is set.
        run: ends when all labels are done, when none are any more, or when time is up.
        server: runs, and is killed and started `kills` times, at equal parts of the work.
        done: the number of finished labels.
        total: number of labels of the project.
        kills: the planned number.

    Raises:
        Exception: what an annotator raised.
    """
    with ThreadPoolExecutor(len(annotators)) as pool:
        start = time.monotonic()
        threads = [pool.submit(_until_aborted, annotator) for annotator in annotators]
        try:
            killed = _kill_while_working(threads, server, done=done, total=total, kills=kills)
            seconds = time.monotonic() - start
            run.finished.set()
            wait(threads, timeout=GRACE)
        finally:
            run.finished.set()
            run.aborted.set()
    _raise_first_error(threads)
    return killed, seconds


def _until_aborted(annotator: Callable[[], None]) -> None:
    with contextlib.suppress(Aborted):
        annotator()


def _kill_while_working(
    threads: Sequence[Future[None]],
    server: Server,
    *,
    done: Callable[[], int],
    total: int,
    kills: int,
) -> int:
    """Kill and start the server at equal parts of the work; returns the number of kills."""
    killed, now = 0, 0
    start = changed = time.monotonic()
    while now < total and time.monotonic() < min(start + SECONDS, changed + STALLED):
        time.sleep(0.02)
        _raise_first_error([thread for thread in threads if thread.done()])
        before, now = now, done()
        if now != before:
            changed = time.monotonic()
        if killed < kills and now >= (killed + 1) / (kills + 1) * total:
            server.kill()
            server.start()
            killed += 1
            changed = time.monotonic()
    return killed


def _raise_first_error(threads: Sequence[Future[None]]) -> None:
    for thread in threads:
        thread.result()
