"""Whether a process does anything: where its main thread stands, what the processor did for it."""

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
"""What a rank has done for as long as a hang lasts.

works: something. waits: it stood at one place in a collective operation, for others or for its
own GPU. blocked: that, and it used no processor. idle: it used none, and is in no collective.
"""
BUSY = 0.05  # share of a core; below it are a progress bar, a tracker's thread
AT_WORK = (psutil.STATUS_RUNNING, psutil.STATUS_DISK_SLEEP)
# Within these a rank stands while it waits for others; DDP and FSDP wait in the backward pass.
COLLECTIVES = tuple(str(Path("/torch", name)) + os.sep for name in ("distributed", "autograd"))

_excused = threading.Event()


@contextlib.contextmanager
def excused() -> Iterator[None]:
    """While open, this process counts as one that works: it waits for a network, for one."""
    _excused.set()
    try:
        yield
    finally:
        _excused.clear()


class Unchanged:
    """How long something has stayed as it is."""

    def __init__(self, now: float) -> None:
        self.mark: object = None
        self.since = now

    def seconds(self, mark: object, now: float) -> float:
        """Since `mark` was another one, by what was told here."""
        if mark != self.mark:
            self.mark, self.since = mark, now
        return now - self.since


class Activity:
    """This process as the thread sees it that calls `look`, every few seconds."""

    def __init__(self, now: float) -> None:
        self.process = psutil.Process()
        self.place, self.work = Unchanged(now), Unchanged(now)
        self.moves, self.used = 0, [(0.0, now), (0.0, now)]  # of this process, of its children

    def look(self, now: float, limit: float) -> tuple[State, str]:
        """The state over the last `limit` seconds, and the place: function, file and line."""
        frame = sys._current_frames().get(threading.main_thread().ident or 0)
        stack = [] if frame is None else list(_outwards(frame))
        stands = self.place.seconds([(id(f.f_code), f.f_lasti) for f in stack], now) >= limit
        does_nothing = self.work.seconds(self._work(now), now) >= limit
        inside = any(name in f.f_code.co_filename for f in stack for name in COLLECTIVES)
        place = _words(stack[0]) if stack else "its end"
        if _excused.is_set():
            return "works", place
        if inside and stands:
            return ("blocked" if does_nothing else "waits"), place
        if stands and not does_nothing and _has_gpu():
            return "waits", place  # for a GPU one waits at full speed, whoever is late
        return ("idle" if does_nothing and not inside else "works"), place

    def _work(self, now: float) -> object:
        """Another value whenever the main thread ran or read a disk, or the processor was used.

        The main thread may wait for threads and programs that it started. A disk that takes its
        time (a checkpoint that is synced) shows as a state of its own, and so does a processor
        that others keep busy.
        """
        switches, busy = main_thread(os.getpid())
        mine = _seconds(self.process) - time.thread_time()  # less what this thread takes
        # Finding the children takes longer than the rest.
        if busy or self._used(0, mine, now) or self._used(1, self._of_children(), now):
            self.moves += 1
        return self.moves, switches

    def _used(self, which: int, seconds: float, now: float) -> bool:
        before, then = self.used[which]
        self.used[which] = seconds, now
        return seconds - before > BUSY * (now - then)

    def _of_children(self) -> float:
        return sum(_seconds(child) for child in self.process.children(recursive=True))


def main_thread(pid: int) -> tuple[int, bool]:
    """How often the main thread went to sleep, and whether it runs, or waits to, or for a disk.

    Linux says so; elsewhere it is 0 and False.
    """
    try:
        status = Path(f"/proc/{pid}/task/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0, False
    lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return int(lines["voluntary_ctxt_switches"]), lines["State"].split()[0] in "RD"


def outside_look(process: psutil.Process) -> object:
    """Another value whenever the process used the processor for a second, or is gone.

    For one whose threads do not answer: it is stopped, or holds the interpreter.
    """
    try:
        # Others see to its end, or somebody looks at it in a debugger, or its main thread is busy.
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_TRACING_STOP, *AT_WORK):
            return time.monotonic()
        return int(_seconds(process))
    except psutil.NoSuchProcess:
        return time.monotonic()


def is_stopped(process: psutil.Process) -> bool:
    """Whether somebody has stopped it (SIGSTOP, Ctrl-Z)."""
    try:
        return bool(process.status() == psutil.STATUS_STOPPED)
    except psutil.NoSuchProcess:
        return False


def _seconds(process: psutil.Process) -> float:
    try:
        used = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(used.user + used.system)


def _outwards(frame: types.FrameType | None) -> Iterator[types.FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _words(frame: types.FrameType) -> str:
    code = frame.f_code
    return f"{code.co_name} ({Path(code.co_filename).name}, line {frame.f_lineno})"


def _has_gpu() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda.is_initialized()
