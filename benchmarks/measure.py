"""Runs contestants side by side, a turn each, and keeps what every turn took."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Listener
from pathlib import Path
from typing import Any

import psutil

from benchmarks.rates import Rates, best_of, measure_rates
from benchmarks.turns import ADDRESS, KEY, Worker
from benchmarks.workloads import Contestant, Job

ROOT = Path(__file__).resolve().parents[1]
MODULES = {"rlhf": "benchmarks.ours", "trl": "benchmarks.peer"}
SECONDS_TO_LOAD = 300


@dataclass(kw_only=True)
class Measured:
    """One contestant's counted turns."""

    contestant: Contestant
    after_imports: int = 0  # bytes of the process tree; on a GPU 0
    peak: int = 0  # bytes, the sum of each process's peak; on a GPU what was allocated there
    turns: list[dict[str, float]] = field(default_factory=list)

    @property
    def after_loading(self) -> int:
        """Bytes of the peak that are not the size after imports."""
        return self.peak - self.after_imports

    def mean(self, name: str) -> float:
        """Of the counted turns."""
        return sum(turn[name] for turn in self.turns) / len(self.turns)


def measure(
    jobs: Sequence[Job], folder: Path, *, peer_python: Path, warm_up: int = 1
) -> tuple[list[Measured], Rates]:
    """Each job's turns after the first `warm_up`, and the machine's rates.

    All engines are loaded before the first turn and only the one whose turn it is computes.
    Every second round goes backwards, so that none always follows the same other.

    Raises:
        RuntimeError: a worker that died, with the end of what it said.
    """
    runs: list[_Run] = []
    threads = max(job.contestant.num_threads * job.contestant.num_processes for job in jobs)
    device = "cuda" if jobs[0].on_gpu else "cpu"
    with ExitStack() as stack:
        for number, job in enumerate(jobs):
            runs.append(_Run(job, folder / f"run-{number}", peer_python))
            stack.callback(runs[-1].end)
            runs[-1].start()
        rates = [measure_rates(threads, device=device)]
        for turn in range(jobs[0].iterations):
            for run in runs if turn % 2 == 0 else reversed(runs):
                run.take_turn(counted=turn >= warm_up)
        rates.append(measure_rates(threads, device=device))
    return [run.measured for run in runs], best_of(rates)


class _Run:
    """A worker's processes, started by torchrun as both engines' users may start them."""

    def __init__(self, job: Job, folder: Path, peer_python: Path) -> None:
        self.job, self.folder = job, folder
        self.measured = Measured(contestant=job.contestant)
        folder.mkdir(parents=True)
        (folder / "job.json").write_text(json.dumps(job.as_dict()), encoding="utf-8")
        self.python = Path(sys.executable) if job.contestant.engine == "rlhf" else peer_python

    def start(self) -> None:
        """Return when the models are loaded."""
        with Listener(("127.0.0.1", 0), authkey=KEY) as listener:
            host, port = listener.address
            socket: Any = listener._listener._socket  # type: ignore[attr-defined]
            socket.settimeout(1.0)  # accept() itself knows no timeout
            self.log = (self.folder / "log").open("wb")
            self.process = subprocess.Popen(
                self._command(),
                cwd=ROOT,
                env=self._environment(f"{host}:{port}"),
                stdout=self.log,
                stderr=subprocess.STDOUT,
            )
            self.worker = self._connected(listener)
        self.measured.after_imports = tree_bytes(self.process.pid, "VmRSS")
        self._hear()  # loaded

    def take_turn(self, *, counted: bool) -> None:
        """One iteration, from the word to go to its figures."""
        start, before = time.perf_counter(), tree_cpu_seconds(self.process.pid)
        self.worker.go()
        figures = self._hear()
        figures["seconds"] = time.perf_counter() - start
        figures["cpu_seconds"] = tree_cpu_seconds(self.process.pid) - before
        if counted:
            self.measured.turns.append(figures)
        peak = tree_bytes(self.process.pid, "VmHWM")
        if self.job.on_gpu:
            self.measured.after_imports, peak = 0, int(figures["gpu_bytes"])
        self.measured.peak = max(self.measured.peak, peak)

    def end(self) -> None:
        """Leave no process behind."""
        if not hasattr(self, "process"):
            return
        for process in _tree(self.process.pid):
            process.kill()
        self.process.wait()
        self.log.close()

    def _hear(self) -> dict[str, Any]:
        try:
            return self.worker.hear()
        except EOFError:
            raise RuntimeError(self._last_words()) from None

    def _connected(self, listener: Listener) -> Worker:
        for _ in range(SECONDS_TO_LOAD):
            try:
                return Worker(listener)
            except TimeoutError:
                if self.process.poll() is not None:
                    break
        raise RuntimeError(self._last_words())

    def _last_words(self) -> str:
        said = (self.folder / "log").read_text(encoding="utf-8", errors="replace")
        return f"{self.job.contestant.label} ended; the last it said:\n{said[-2000:]}"

    def _command(self) -> list[str]:
        processes = self.job.contestant.num_processes
        launcher = f"-m torch.distributed.run --standalone --nproc_per_node {processes}"
        module = MODULES[self.job.contestant.engine]
        job = str(self.folder / "job.json")
        return [str(self.python), *launcher.split(), "--module", module, job]

    def _environment(self, address: str) -> dict[str, str]:
        own = {
            ADDRESS: address,
            "OMP_NUM_THREADS": str(self.job.contestant.num_threads),
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "RLHF_HANG_SECONDS": "0",  # ranks wait for the one that waits for its turn
        }
        return os.environ | own | ({} if self.job.on_gpu else {"ACCELERATE_USE_CPU": "true"})


def tree_bytes(pid: int, name: str) -> int:
    """Sum over the process and all below it of a line of /proc/PID/status, in bytes.

    VmHWM is the kernel's own account of the most that was resident; pages that processes share
    are counted for each.
    """
    return sum(_status(process.pid, name) for process in _tree(pid))


def tree_cpu_seconds(pid: int) -> float:
    """Processor time of the process and all below it so far."""
    return sum(sum(process.cpu_times()[:2]) for process in _tree(pid))


def _status(pid: int, name: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:  # gone in the meantime
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)


def _tree(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
