"""Jobs that wait for a server, several at a time."""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import TypeVar

from rlhf.runtime import progress

NAME = "rlhf-job"

Job = TypeVar("Job")
Done = TypeVar("Done")


def run_together(
    work: Callable[[Job], Done],
    jobs: Sequence[Job],
    *,
    at_once: int,
    advance: Callable[[int], object] = lambda count: None,
) -> Iterator[tuple[int, Done]]:
    """(index, result) of each job, as the jobs end.

    After an error, the jobs that run are waited for, and the others never start. After an
    interrupt no job is waited for: a server may hang, and the threads of a ThreadPoolExecutor
    would keep the program from ending. These threads are daemons.

    Args:
        work: called in a thread, with a job.
        jobs: all of them.
        at_once: how many run at a time.
        advance: of `progress`; called with 0 if no job ended for a while.

    Raises:
        Exception: the first error of a job.
    """
    waiting: queue.SimpleQueue[tuple[int, Job]] = queue.SimpleQueue()
    ended: queue.SimpleQueue[tuple[int, Future[Done]]] = queue.SimpleQueue()
    stopped = threading.Event()
    for each in enumerate(jobs):
        waiting.put(each)

    def run() -> None:
        while not stopped.is_set():
            try:
                index, job = waiting.get_nowait()
            except queue.Empty:
                return
            future: Future[Done] = Future()
            try:
                future.set_result(work(job))
            except BaseException as error:
                future.set_exception(error)
            ended.put((index, future))

    threads = [threading.Thread(target=run, name=NAME, daemon=True) for _ in jobs[:at_once]]
    for thread in threads:
        thread.start()
    try:
        for _ in jobs:
            index, future = _next(ended, advance)
            yield index, future.result()
    except Exception:
        stopped.set()
        for thread in threads:
            thread.join()
        raise
    finally:
        stopped.set()


def _next(
    ended: "queue.SimpleQueue[tuple[int, Future[Done]]]", advance: Callable[[int], object]
) -> tuple[int, Future[Done]]:
    while True:
        try:
            return ended.get(timeout=progress.SECONDS)
        except queue.Empty:
            advance(0)
