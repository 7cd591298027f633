"""Interleave workers: each one waits for its turn, computes one iteration and reports metrics.

Both ends of the connection are here. All environments import it, so it needs only the standard
library; torch is used where a worker has imported it.
"""

import json
import os
import sys
from collections.abc import Mapping
from multiprocessing.connection import Client, Connection, Listener

ADDRESS = "BENCHMARK_ADDRESS"
KEY = b"benchmarks"  # both ends are on this machine; other connections are rejected


class WorkerConnection:
    """The worker's end. Rank 0 communicates; the other ranks of a run wait for it."""

    def __init__(self) -> None:
        host, _, port = os.environ[ADDRESS].partition(":")
        self.first = os.environ.get("RANK", "0") == "0"
        self.connection = Client((host, int(port)), authkey=KEY) if self.first else None
        self.report({"imported": True})

    def report(self, metrics: Mapping[str, object]) -> None:
        """Send the metrics of a turn."""
        if self.connection is not None:
            self.connection.send_bytes(json.dumps(metrics).encode())

    def wait(self) -> None:
        """Return when it is this worker's turn, on all ranks at once."""
        if self.connection is not None:
            self.connection.recv_bytes()
        if "torch" not in sys.modules:
            return
        from torch import distributed

        if distributed.is_available() and distributed.is_initialized():
            distributed.barrier()


class Worker:
    """The driver's end of one run."""

    def __init__(self, listener: Listener) -> None:
        self.connection: Connection[object, object] = listener.accept()
        self.receive()  # imported

    def receive(self) -> dict[str, float]:
        """The next metrics of the worker.

        Raises:
            EOFError: the worker ended.
        """
        metrics: dict[str, float] = json.loads(self.connection.recv_bytes())
        return metrics

    def start_turn(self) -> None:
        """Let the worker compute its next iteration."""
        self.connection.send_bytes(b"go")
