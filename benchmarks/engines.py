"""Engines in processes of their own that take turns: `python -m MODULE NAME JOB.json`."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Listener
from pathlib import Path

from benchmarks.interleaving import ADDRESS, KEY, Worker
from benchmarks.measure import SPINS, own_environment, process_tree, tree_bytes

ROOT = Path(__file__).resolve().parents[1]
LOAD_SECONDS = 600
SPINNING = ", spinning"  # end of the name of an engine whose waiting threads spin


@dataclass(kw_only=True)
class Engine:
    """A worker's process, its connection and its rates."""

    name: str
    process: subprocess.Popen[bytes]
    worker: Worker
    log: Path
    rates: dict[int, list[float]] = field(default_factory=dict)  # key -> units per second
    peak: int = 0  # bytes of the process tree

    def take_turn(self, key: int, *, counted: bool) -> dict[str, float]:
        """The worker's metrics of one turn: `units` of work, `seconds`, and others."""
        self.worker.start_turn()
        metrics = self.receive()
        self.peak = max(self.peak, tree_bytes(self.process.pid, "VmHWM"))
        if counted:
            self.rates.setdefault(key, []).append(metrics["units"] / metrics["seconds"])
        return metrics

    def receive(self) -> dict[str, float]:
        """The next metrics.

        Raises:
            RuntimeError: the process ended; the message has the end of its log.
        """
        try:
            return self.worker.receive()
        except EOFError:
            log = self.log.read_text(encoding="utf-8", errors="replace")
            message = f"{self.name} ended; the end of its log:\n{log[-2000:]}"
            raise RuntimeError(message) from None


@contextmanager
def started(
    module: str, pythons: Mapping[str, str], job: Path, *, threads: int
) -> Iterator[list[Engine]]:
    """The engines, loaded one after the other; they are killed at the end.

    Args:
        module: of the worker.
        pythons: interpreter by name of the engine.
        job: what the workers read.
        threads: CPU threads of each.
    """
    engines: list[Engine] = []
    try:
        for name, python in pythons.items():
            engines.append(_start(module, name, python, job, threads))
        yield engines
    finally:
        for engine in engines:
            for process in process_tree(engine.process.pid):
                process.kill()


def _start(module: str, name: str, python: str, job: Path, threads: int) -> Engine:
    with Listener(("127.0.0.1", 0), authkey=KEY) as listener:
        host, port = listener.address
        listener._listener._socket.settimeout(LOAD_SECONDS)  # type: ignore[attr-defined]
        log = job.with_name(f"{name}.log")
        process = subprocess.Popen(
            [python, "-m", module, name, str(job)],
            cwd=ROOT,
            env=own_environment()
            | {
                ADDRESS: f"{host}:{port}",
                "OMP_NUM_THREADS": str(threads),
                "HF_HUB_OFFLINE": "1",
                "VLLM_CPU_KVCACHE_SPACE": "1",
                "VLLM_NO_USAGE_STATS": "1",
            }
            | ({"GOMP_SPINCOUNT": SPINS} if name.endswith(SPINNING) else {}),
            stdout=log.open("wb"),
            stderr=subprocess.STDOUT,
        )
        engine = Engine(name=name, process=process, worker=Worker(listener), log=log)
    engine.receive()  # loaded
    return engine
