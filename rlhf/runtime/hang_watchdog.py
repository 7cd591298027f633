"""Ends a run of several processes when one of them hangs, and names it.

A rank hangs when all others wait for it and it does nothing: it is stopped, or it sleeps, waits for
a lock or for a server, and its process has not used the processor for `RLHF_HANG_SECONDS`.
One that computes for minutes, alone or not, does not hang, whatever the others wait for.

Every rank has a thread that looks at its own process every two seconds and tells the others,
through the store by which the processes found each other.
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
from typing import Any, NoReturn

import psutil

from rlhf.errors import STATUS_FAILED, ConfigError
from rlhf.runtime.process_activity import Activity, State, Unchanged, is_stopped, outside_look

VARIABLE = "RLHF_HANG_SECONDS"
DEFAULT_SECONDS = 40.0
BEAT_SECONDS = 2.0
# The rank that hangs ends first, since launchers name who did, and when all know why.
LEAVE_SECONDS, KILL_SECONDS, GRACE_SECONDS = 2.5, 6.0, 3.0
VERDICT = "verdict"


@dataclass(frozen=True)
class Beat:
    """What a rank says of itself."""

    count: int
    host: str
    pid: int
    state: State
    place: str  # where its main thread stands


@dataclass(frozen=True)
class Hang:
    """Ranks that hang, and the sentence that says so."""

    ranks: list[int]
    sentence: str


def find_hang(beats: Sequence[Beat], silent: Mapping[int, str], limit: float) -> Hang | None:
    """The hang that the ranks' beats show, if they show one.

    silent: what keeps the ranks that do not beat any more, by rank; `limit` in seconds.
    """
    why = {
        rank: f"it has done nothing, in {beat.place},"
        for rank, beat in enumerate(beats)
        if beat.state == "idle"
    } | dict(silent)
    others = [beat.state for rank, beat in enumerate(beats) if rank not in why]
    if why and others and all(state in ("waits", "blocked") for state in others):
        ranks = sorted(why)
        names = "; ".join(f"rank {rank} hangs: for {limit:g} s {why[rank]}" for rank in ranks[:3])
        return Hang(ranks, f"{names} while the others wait for it{_advice(limit)}")
    if not why and others and all(state == "blocked" for state in others):
        places = ", ".join(f"rank {rank} in {beat.place}" for rank, beat in enumerate(beats[:8]))
        words = f"every rank waits for another one for {limit:g} s: {places}{_advice(limit)}"
        return Hang(list(range(len(beats))), words)
    return None


def _advice(limit: float) -> str:
    return f"; where that is no hang, set {VARIABLE} to more than {limit:g}."


def hang_seconds() -> float:
    """Seconds of doing nothing that make a hang; 0 where nobody is to look.

    Raises:
        ConfigError: the environment says something else than a number of seconds.
    """
    word = os.environ.get(VARIABLE, str(DEFAULT_SECONDS))
    try:
        seconds = float(word)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ConfigError(f"{VARIABLE}={word}; use seconds, or 0 to let a rank hang.")
    return seconds


def watch(rank: int, world_size: int) -> None:
    """Look after this run's ranks until the process ends. The process group is there by now.

    Raises:
        ConfigError: as `hang_seconds`.
    """
    limit = hang_seconds()
    if limit > 0:
        Watchdog(rank, world_size, limit).start()


class Watchdog(threading.Thread):
    """The thread of one rank."""

    def __init__(self, rank: int, world_size: int, limit: float) -> None:
        super().__init__(name="watchdog", daemon=True)
        self.rank, self.limit = rank, limit
        self.beat_seconds = min(BEAT_SECONDS, limit / 4)
        self.keys = [str(other) for other in range(world_size)]
        self.host, self.count = socket.gethostname(), 0
        self.processes: dict[int, psutil.Process] = {}  # of the other ranks on this machine
        self.store = _own_store()
        self.ended = threading.Event()
        # In a process on its way down a thread may no longer come back from the store.
        atexit.register(self.ended.set)
        self._begin()
        self._tell("works", "its start")  # here: the main thread may hang before this one runs

    def run(self) -> None:
        """Beat, look, and end this process where a rank hangs."""
        from torch.distributed import DistError

        try:
            while not self.ended.wait(self.beat_seconds):
                self._turn()
        except DistError:
            return  # the launcher is gone, which kept the store, or goes

    def _begin(self) -> None:
        """Know nothing yet: at the start, and where this process itself was stopped."""
        self.now = time.monotonic()
        self.activity = Activity(self.now)
        self.heard = {rank: Unchanged(self.now) for rank in range(len(self.keys))}

    def _turn(self) -> None:
        if self.store.check([VERDICT]):
            _, hang = json.loads(self.store.get(VERDICT))
            self._end(Hang(**hang))
        before, now = self.now, time.monotonic()
        if now - before > 3 * self.beat_seconds + 1:
            self._begin()
        self.now = now
        self._tell(*self.activity.look(now, self.limit))
        beats = self._told()
        found = find_hang(beats, self._silent(beats, now), self.limit) if beats else None
        if found is not None:
            mine = json.dumps([self.rank, asdict(found)])
            if self.store.compare_set(VERDICT, "", mine).decode() == mine:
                print(f"{Path(sys.argv[0]).name}: {found.sentence}", file=sys.stderr, flush=True)

    def _tell(self, state: State, place: str) -> None:
        self.count += 1
        mine = Beat(self.count, self.host, os.getpid(), state, place)
        self.store.set(self.keys[self.rank], json.dumps(asdict(mine)))

    def _told(self) -> list[Beat]:
        """By all ranks, or nothing before all have begun."""
        if not self.store.check(self.keys):
            return []
        return [Beat(**json.loads(told)) for told in self.store.multi_get(self.keys)]

    def _silent(self, beats: Sequence[Beat], now: float) -> dict[int, str]:
        """What keeps the ranks that have not beaten for long, by rank.

        One on this machine may hold the interpreter and compute. Those on another machine are
        for a rank there to see, unless that is silent as a whole.
        """
        found: dict[int, str] = {}
        for rank, beat in enumerate(beats):
            process = self._process(rank, beat)
            mark = (beat.count, None if process is None else outside_look(process))
            if rank != self.rank and self.heard[rank].seconds(mark, now) >= self.limit:
                stopped = process is not None and is_stopped(process)
                found[rank] = "its process has been stopped" if stopped else "it has not answered"
        speaking = {beat.host for rank, beat in enumerate(beats) if rank not in found}
        return {
            rank: why
            for rank, why in found.items()
            if beats[rank].host == self.host or beats[rank].host not in speaking
        }

    def _process(self, rank: int, beat: Beat) -> psutil.Process | None:
        if beat.host == self.host and rank != self.rank and rank not in self.processes:
            try:
                self.processes[rank] = psutil.Process(beat.pid)
            except psutil.NoSuchProcess:
                return None
        return self.processes.get(rank)

    def _end(self, hang: Hang) -> NoReturn:
        # What the main thread raises from here on (the connection to the other rank is gone)
        # follows from the hang.
        sys.excepthook = lambda *error: threading.Event().wait()
        if self.rank in hang.ranks:
            time.sleep(LEAVE_SECONDS)
            os._exit(STATUS_FAILED)
        # One that is stopped, or holds the interpreter, cannot end itself.
        last = [self.processes[rank] for rank in hang.ranks if rank in self.processes]
        _, left = psutil.wait_procs(last, timeout=KILL_SECONDS)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(GRACE_SECONDS)
        os._exit(STATUS_FAILED)


def _own_store() -> Any:
    """A connection of this thread's own: on torch's, one that waits keeps all others waiting."""
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = TCPStore(address, port, is_master=False, wait_for_workers=False)
    return PrefixStore(f"rlhf-watchdog-{attempt}", store)
