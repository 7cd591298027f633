"""Whether a process is active: the position of its main thread, and the CPU time that it used."""

import contextlib
import os
import sys
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import psutil

State = Literal["works", "waits", "blocked", "idle"]
"""What a rank did during the last `limit` seconds.

works: anything else. waits: it stayed at one place in a collective operation, for other ranks or
for its own GPU. blocked: the same, without using the CPU. idle: it did not use the CPU, outside of
a collective.
"""
BUSY = 0.05  # share of a core; a progress bar or a tracker's thread uses less
RUNNING = (psutil.STATUS_RUNNING, psutil.STATUS_DISK_SLEEP)
# A rank that waits for others is in one of these; DDP and FSDP wait in the backward pass.
COLLECTIVES = tuple(str(Path("/torch", name)) + os.sep for name in ("distributed", "autograd"))

_excused = threading.Event()


@contextlib.contextmanager
def excused() -> Iterator[None]:
    """Count this process as working during the block, for example while it waits for a network."""
    _excused.set()
    try:
        yield
    finally:
        _excused.clear()


class Unchanged:
    """How long a value has not changed."""

    def __init__(self, now: float) -> None:
        self.value: object = None
        self.since = now

    def seconds(self, value: object, now: float) -> float:
        """The seconds since `value` was last different, judged by the calls of this method."""
        if value != self.value:
            self.value, self.since = value, now
        return now - self.since


class Activity:
    """The activity of this process; one thread calls `observe` every few seconds."""

    def __init__(self, now: float) -> None:
        self.process = psutil.Process()
        self.place, self.work = Unchanged(now), Unchanged(now)
        self.busy_checks = 0
        self.used = [(0.0, now), (0.0, now)]  # (CPU seconds, time) of this process, its children

    def observe(self, now: float, limit: float) -> tuple[State, str]:
        """The state over the last `limit` seconds, and the place: function, file and line."""
        frame = sys._current_frames().get(threading.main_thread().ident or 0)
        stack = list(_frames(frame))
        is_still = self.place.seconds([(id(f.f_code), f.f_lasti) for f in stack], now) >= limit
        is_idle = self.work.seconds(self._work(now), now) >= limit
        in_collective = any(name in f.f_code.co_filename for f in stack for name in COLLECTIVES)
        place = _describe(stack[0]) if stack else "its exit"
        if _excused.is_set():
            return "works", place
        if in_collective and is_still:
            return ("blocked" if is_idle else "waits"), place
        if is_still and not is_idle and _has_gpu():
            return "waits", place  # waiting for a GPU spins, whichever rank is late
        return ("idle" if is_idle and not in_collective else "works"), place

    def _work(self, now: float) -> object:
        """A value that changes whenever the main thread ran or read a disk, or used the CPU.

        The main thread may wait for threads and programs that it started. A slow disk (a
        checkpoint that is synced) has its own state, and so has a CPU that others keep busy.
        """
        switches, busy = main_thread(os.getpid())
        own = _cpu_seconds(self.process) - time.thread_time()  # without this thread
        # Listing the children takes longer than the rest.
        if busy or self._used(0, own, now) or self._used(1, self._of_children(), now):
            self.busy_checks += 1
        return self.busy_checks, switches

    def _used(self, which: int, seconds: float, now: float) -> bool:
        before, then = self.used[which]
        self.used[which] = seconds, now
        return seconds - before > BUSY * (now - then)

    def _of_children(self) -> float:
        return sum(_cpu_seconds(child) for child in self.process.children(recursive=True))


def main_thread(pid: int) -> tuple[int, bool]:
    """How often the main thread went to sleep, and whether it runs, could run, or waits for a disk.

    Read from /proc on Linux; (0, False) elsewhere.
    """
    try:
        status = Path(f"/proc/{pid}/task/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0, False
    lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return int(lines["voluntary_ctxt_switches"]), lines["State"].split()[0] in "RD"


def external_activity(process: psutil.Process) -> object:
    """A value that changes whenever the process used the CPU for a second, or is gone.

    For a process whose threads do not answer: it is stopped, or a call holds the interpreter.
    """
    try:
        # It has ended, which others handle; or it is in a debugger; or its main thread is busy.
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_TRACING_STOP, *RUNNING):
            return time.monotonic()
        return int(_cpu_seconds(process))
    except psutil.NoSuchProcess:
        return time.monotonic()


def is_stopped(process: psutil.Process) -> bool:
    """Whether it was stopped (SIGSTOP, Ctrl-Z)."""
    try:
        return bool(process.status() == psutil.STATUS_STOPPED)
    except psutil.NoSuchProcess:
        return False


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        used = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(used.user + used.system)


def _frames(frame: types.FrameType | None) -> Iterator[types.FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _describe(frame: types.FrameType) -> str:
    code = frame.f_code
    return f"{code.co_name} ({Path(code.co_filename).name}, line {frame.f_lineno})"


def _has_gpu() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda.is_initialized()
