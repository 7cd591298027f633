"""Run variants interleaved, one iteration each in turn, and measure every turn."""

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

import psutil

from benchmarks.interleaving import ADDRESS, KEY, Worker
from benchmarks.workloads import Job, Variant
from rlhf.planning.rates import Rates, best_of, measure_rates

ROOT = Path(__file__).resolve().parents[1]
MODULES = {
    "rlhf": "benchmarks.rlhf_worker",
    "trl": "benchmarks.trl_worker",
    "trl_groups": "benchmarks.trl_groups_worker",
}
SECONDS_TO_LOAD = 300
SPINS = "300000"  # OpenMP's own default


@dataclass(kw_only=True)
class Measured:
    """The counted turns of one variant."""

    variant: Variant
    after_imports: int = 0  # bytes of the process tree
    peak: int = 0  # bytes, the sum of the processes' peaks
    turns: list[dict[str, float]] = field(default_factory=list)

    @property
    def after_loading(self) -> int:
        """Bytes of the peak above the size after imports."""
        return self.peak - self.after_imports

    def mean(self, name: str) -> float:
        """Mean of a metric over the counted turns."""
        return sum(turn[name] for turn in self.turns) / len(self.turns)


def measure(
    jobs: Sequence[Job], folder: Path, *, peer_python: Path, warm_up: int = 1
) -> tuple[list[Measured], Rates]:
    """Each job's turns after the first `warm_up`, and the machine's rates.

    All engines are loaded before the first turn, and only one of them computes at a time. Every
    second round is in reverse order, so that no variant always follows the same other one.

    Raises:
        RuntimeError: a worker died; the message has the end of its log.
    """
    runs: list[_Run] = []
    threads = max(job.variant.num_threads * job.variant.num_processes for job in jobs)
    with ExitStack() as stack:
        for number, job in enumerate(jobs):
            runs.append(_Run(job, folder / f"run-{number}", peer_python))
            stack.callback(runs[-1].end)
            runs[-1].start()
        rates = [measure_rates(threads)]
        for turn in range(jobs[0].iterations):
            for run in runs if turn % 2 == 0 else reversed(runs):
                run.take_turn(counted=turn >= warm_up)
        rates.append(measure_rates(threads))
    return [run.measured for run in runs], best_of(rates)


class _Run:
    """A worker's processes, started as an engine's users start one: see `_launcher`."""

    def __init__(self, job: Job, folder: Path, peer_python: Path) -> None:
        self.job, self.folder = job, folder
        self.measured = Measured(variant=job.variant)
        folder.mkdir(parents=True)
        (folder / "job.json").write_text(json.dumps(job.as_dict()), encoding="utf-8")
        self.python = peer_python if job.variant.engine == "trl" else Path(sys.executable)

    def start(self) -> None:
        """Return when the models are loaded."""
        with Listener(("127.0.0.1", 0), authkey=KEY) as listener:
            host, port = listener.address
            socket = listener._listener._socket  # type: ignore[attr-defined]
            socket.settimeout(1.0)  # accept() has no timeout
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
        self._receive()  # loaded

    def take_turn(self, *, counted: bool) -> None:
        """One iteration, from its start to its metrics."""
        start, before = time.perf_counter(), tree_cpu_seconds(self.process.pid)
        self.worker.start_turn()
        metrics = self._receive()
        metrics["seconds"] = time.perf_counter() - start
        metrics["cpu_seconds"] = tree_cpu_seconds(self.process.pid) - before
        if counted:
            self.measured.turns.append(metrics)
        peak = tree_bytes(self.process.pid, "VmHWM")
        self.measured.peak = max(self.measured.peak, peak)

    def end(self) -> None:
        """Kill all processes of the run."""
        if not hasattr(self, "process"):
            return
        for process in process_tree(self.process.pid):
            process.kill()
        self.process.wait()
        self.log.close()

    def _receive(self) -> dict[str, float]:
        try:
            return self.worker.receive()
        except EOFError:
            raise RuntimeError(self._death_message()) from None

    def _connected(self, listener: Listener) -> Worker:
        for _ in range(SECONDS_TO_LOAD):
            try:
                return Worker(listener)
            except TimeoutError:
                if self.process.poll() is not None:
                    break
        raise RuntimeError(self._death_message())

    def _death_message(self) -> str:
        log = (self.folder / "log").read_text(encoding="utf-8", errors="replace")
        return f"{self.job.variant.label} ended; the end of its log:\n{log[-2000:]}"

    def _command(self) -> list[str]:
        module = MODULES[self.job.variant.engine]
        return [
            str(self.python),
            *self._launcher(),
            "--module",
            module,
            str(self.folder / "job.json"),
        ]

    def _launcher(self) -> list[str]:
        """What `rlhf ppo` runs, TRL's `accelerate launch`, or torchrun for several processes."""
        processes = self.job.variant.num_processes
        if processes > 1:
            return f"-m torch.distributed.run --standalone --nproc_per_node {processes}".split()
        if self.job.variant.engine == "rlhf":
            return ["-m", "rlhf.runtime.agent"]
        return ["-m", "accelerate.commands.launch", "--num_processes", "1"]

    def _environment(self, address: str) -> dict[str, str]:
        variables = {
            ADDRESS: address,
            "OMP_NUM_THREADS": str(self.job.variant.num_threads),
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "ACCELERATE_USE_CPU": "true",
            "RLHF_HANG_SECONDS": "0",  # all ranks wait while rank 0 waits for its turn
            "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB; a share of the memory would leave other runs none
        }
        if self.job.variant.spins:
            variables["GOMP_SPINCOUNT"] = SPINS
        return own_environment() | variables


def own_environment() -> dict[str, str]:
    """The environment without the policy of waiting threads, which importing rlhf has set here.

    Other engines would inherit it; rlhf's workers set it themselves.
    """
    return {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}


def tree_bytes(pid: int, name: str) -> int:
    """Sum of a line of /proc/PID/status over the process and its descendants, in bytes.

    VmHWM is the kernel's peak of resident memory; shared pages are counted for each process.
    """
    return sum(_status(process.pid, name) for process in process_tree(pid))


def tree_cpu_seconds(pid: int) -> float:
    """Processor time of the process and its descendants so far."""
    return sum(sum(process.cpu_times()[:2]) for process in process_tree(pid))


def _status(pid: int, name: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:  # gone in the meantime
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)


def process_tree(pid: int) -> list[psutil.Process]:
    """The process and its descendants; none where it has ended."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
