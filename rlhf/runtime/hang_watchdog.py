"""Ends a run of several processes when one of them hangs, and names it.

A rank hangs if all others wait for it and it does nothing: it is stopped, or it sleeps, waits for
a lock or a server, and its process has not used the CPU for `RLHF_HANG_SECONDS`. A rank that
computes for minutes does not hang, however long the others wait for it.

Every rank has a thread that checks its own process every two seconds and reports to the others
through the store that connected the processes.
"""

import atexit
import contextlib
import json
import math
import os
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import psutil

from rlhf.errors import STATUS_FAILED, ConfigError
from rlhf.runtime.nodes import node_name, rank_name
from rlhf.runtime.process_activity import Activity, State, Unchanged, external_activity, is_stopped

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

VARIABLE = "RLHF_HANG_SECONDS"
DEFAULT_SECONDS = 40.0
BEAT_SECONDS = 2.0
# The hanging rank exits first, because launchers name the first one; by then all know the reason.
LEAVE_SECONDS, KILL_SECONDS, GRACE_SECONDS = 2.5, 6.0, 3.0
VERDICT = "verdict"
_running: "Watchdog | None" = None


@dataclass(frozen=True)
class Beat:
    """The last report of a rank about itself."""

    count: int
    host: str
    pid: int
    state: State
    place: str  # of its main thread: function, file and line
    node: str = ""  # in a run on several nodes


@dataclass(frozen=True)
class Hang:
    """Ranks that hang, and the message about them."""

    ranks: list[int]
    message: str


def find_hang(beats: Sequence[Beat], silent: Mapping[int, str], limit: float) -> Hang | None:
    """The hang that the reports of all ranks show, if there is one.

    Args:
        beats: the last report of each rank.
        silent: ranks that report no more, with the reason.
        limit: the seconds without activity that make a hang.
    """
    reasons = {
        rank: f"it has done nothing, in {beat.place},"
        for rank, beat in enumerate(beats)
        if beat.state == "idle"
    } | dict(silent)
    others = [beat.state for rank, beat in enumerate(beats) if rank not in reasons]
    if reasons and others and all(state in ("waits", "blocked") for state in others):
        ranks = sorted(reasons)
        names = "; ".join(
            f"{rank_name(rank, beats[rank].node)} hangs: for {limit:g} s {reasons[rank]}"
            for rank in ranks[:3]
        )
        return Hang(ranks, f"{names} while the others wait for it{_advice(limit)}")
    if not reasons and others and all(state == "blocked" for state in others):
        places = ", ".join(
            f"{rank_name(rank, beat.node)} in {beat.place}" for rank, beat in enumerate(beats[:8])
        )
        message = f"every rank waits for another one for {limit:g} s: {places}{_advice(limit)}"
        return Hang(list(range(len(beats))), message)
    return None


def judged_on(host: str, beats: Sequence[Beat], silent: Mapping[int, str]) -> dict[int, str]:
    """The silent ranks that a rank on `host` may judge.

    From another machine one cannot tell a rank that computes from one that hangs. The other ranks
    on its machine check it, unless that whole machine is silent.
    """
    live_hosts = {beat.host for rank, beat in enumerate(beats) if rank not in silent}
    return {
        rank: reason
        for rank, reason in silent.items()
        if beats[rank].host == host or beats[rank].host not in live_hosts
    }


def _advice(limit: float) -> str:
    return f"; if that is no hang, set {VARIABLE} to more than {limit:g}."


def hang_seconds() -> float:
    """The seconds without activity that make a hang; 0 switches the watchdog off.

    Raises:
        ConfigError: the environment variable is not a number of seconds.
    """
    word = os.environ.get(VARIABLE, str(DEFAULT_SECONDS))
    try:
        seconds = float(word)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ConfigError(
            f"{VARIABLE}={word} is not a number of seconds; 0 switches the watchdog off.",
            code="bad-value",
        )
    return seconds


def watch(rank: int, world_size: int) -> None:
    """Start the watchdog of this rank. The process group must exist.

    Raises:
        ConfigError: as `hang_seconds`.
    """
    global _running
    limit = hang_seconds()
    if limit > 0:
        _running = Watchdog(rank, world_size, limit)
        _running.start()


def running_watchdog() -> "Watchdog | None":
    """The watchdog of this rank, if `watch` has started one."""
    return _running


class Watchdog(threading.Thread):
    """The thread of one rank."""

    def __init__(self, rank: int, world_size: int, limit: float) -> None:
        super().__init__(name="watchdog", daemon=True)
        self.rank, self.limit = rank, limit
        self.beat_seconds = min(BEAT_SECONDS, limit / 4)
        self.keys = [str(other) for other in range(world_size)]
        self.host, self.node, self.count = socket.gethostname(), node_name(), 0
        self.processes: dict[int, psutil.Process] = {}  # of the other ranks on this machine
        self.store = _own_store()
        self.ended = threading.Event()
        # While the interpreter shuts down, a call of the store may never return to this thread.
        atexit.register(self.ended.set)
        self._restart()
        self._report("works", "its start")  # here: the main thread may hang before this one runs

    def run(self) -> None:
        """Report and check every `beat_seconds`; end this process if a rank hangs."""
        from torch.distributed import DistError

        try:
            while not self.ended.wait(self.beat_seconds):
                self._check()
        except DistError:
            return  # the launcher, which held the store, is gone or exits

    def lost_ranks(self) -> list[str]:
        """The names of the ranks that report no more; this takes three intervals of reports."""
        from torch.distributed import DistError

        try:
            before = self._reports()
            time.sleep(3 * self.beat_seconds)
            after = self._reports()
        except DistError:  # the launcher of the first node holds the store
            return [f"the launcher of node 0 ({os.environ['MASTER_ADDR']})"]
        return [
            rank_name(rank, beat.node)
            for rank, (beat, earlier) in enumerate(zip(after, before, strict=True))
            if rank != self.rank and beat.count == earlier.count
        ]

    def _restart(self) -> None:
        """Forget all observations: at the start, and after this process itself was stopped."""
        self.now = time.monotonic()
        self.activity = Activity(self.now)
        self.last_seen = {rank: Unchanged(self.now) for rank in range(len(self.keys))}

    def _check(self) -> None:
        if self.store.check([VERDICT]):
            _, fields = json.loads(self.store.get(VERDICT))
            self._end(Hang(**fields))
        before, now = self.now, time.monotonic()
        if now - before > 3 * self.beat_seconds + 1:
            self._restart()
        self.now = now
        self._report(*self.activity.observe(now, self.limit))
        beats = self._reports()
        hang = find_hang(beats, self._silent(beats, now), self.limit) if beats else None
        if hang is not None:
            verdict = json.dumps([self.rank, asdict(hang)])
            if self.store.compare_set(VERDICT, "", verdict).decode() == verdict:
                print(f"{Path(sys.argv[0]).name}: {hang.message}", file=sys.stderr, flush=True)

    def _report(self, state: State, place: str) -> None:
        self.count += 1
        beat = Beat(self.count, self.host, os.getpid(), state, place, self.node)
        self.store.set(self.keys[self.rank], json.dumps(asdict(beat)))

    def _reports(self) -> list[Beat]:
        """The last report of every rank; empty until all have reported."""
        if not self.store.check(self.keys):
            return []
        return [Beat(**json.loads(fields)) for fields in self.store.multi_get(self.keys)]

    def _silent(self, beats: Sequence[Beat], now: float) -> dict[int, str]:
        """The ranks that have not reported during `limit` seconds, with the reason.

        A rank on this machine may compute while it holds the interpreter.
        """
        reasons: dict[int, str] = {}
        for rank, beat in enumerate(beats):
            process = self._process(rank, beat)
            activity = (beat.count, None if process is None else external_activity(process))
            if rank != self.rank and self.last_seen[rank].seconds(activity, now) >= self.limit:
                stopped = process is not None and is_stopped(process)
                reasons[rank] = "its process has been stopped" if stopped else "it has not answered"
        return judged_on(self.host, beats, reasons)

    def _process(self, rank: int, beat: Beat) -> psutil.Process | None:
        if beat.host == self.host and rank != self.rank and rank not in self.processes:
            try:
                self.processes[rank] = psutil.Process(beat.pid)
            except psutil.NoSuchProcess:
                return None
        return self.processes.get(rank)

    def _end(self, hang: Hang) -> NoReturn:
        # From here on, errors of the main thread (a lost connection to the other rank) are
        # consequences of the hang.
        sys.excepthook = lambda *error: threading.Event().wait()
        if self.rank in hang.ranks:
            time.sleep(LEAVE_SECONDS)
            os._exit(STATUS_FAILED)
        # A process that is stopped or holds the interpreter cannot end itself.
        hanging = [self.processes[rank] for rank in hang.ranks if rank in self.processes]
        _, alive = psutil.wait_procs(hanging, timeout=KILL_SECONDS)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(GRACE_SECONDS)
        os._exit(STATUS_FAILED)


def _own_store() -> "Store":
    """A separate connection to the store: on torch's own, one waiting call blocks all others."""
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = TCPStore(address, port, is_master=False, wait_for_workers=False)
    return PrefixStore(f"rlhf-watchdog-{attempt}", store)
