"""Jobs in threads: order, errors, interrupts, a server that is slow."""

import threading

import pytest

from rlhf.runtime import progress
from rlhf.runtime.parallel import run_together


def test_results_come_as_the_jobs_end():
    """Job 0 waits for job 2, so that it is the last one."""
    second = threading.Event()

    def work(job):
        assert job or second.wait(60)
        return 10 * job

    ended = []
    for index, result in run_together(work, [0, 1, 2], at_once=2):
        ended.append((index, result))
        if index == 2:
            second.set()
    assert ended == [(1, 10), (2, 20), (0, 0)]


def test_after_an_error_running_jobs_are_completed_and_others_never_start():
    """Two at a time: job 1 fails while job 0 runs; its result may be stored."""
    failed, started, completed = threading.Event(), [], []

    def work(job):
        started.append(job)
        if job == 1:
            failed.set()
            raise ValueError("no")
        assert failed.wait(60)
        threading.Event().wait(0.2)
        completed.append(job)

    with pytest.raises(ValueError, match="no"):
        list(run_together(work, range(50), at_once=2))
    assert 0 in completed
    assert set(started) == {1, *completed}
    assert len(started) <= 3


def test_interrupt_does_not_wait_for_a_server_that_hangs(monkeypatch):
    """The interrupt comes where the main thread waits; the only job never ends by itself."""
    monkeypatch.setattr(progress, "SECONDS", 0.01)
    never, shown = threading.Event(), []

    def interrupt(count):
        shown.append(count)
        if len(shown) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(run_together(lambda job: never.wait(60), [0], at_once=4, advance=interrupt))
    assert shown == [0, 0, 0]
    [thread] = [each for each in threading.enumerate() if each.name.startswith("rlhf-job")]
    assert thread.daemon
    never.set()
    thread.join(60)


def test_no_jobs_give_no_results():
    assert list(run_together(len, [], at_once=4)) == []
