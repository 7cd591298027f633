"""Workers take turns: each waits, computes one iteration, tells what it took. Both sides of it.

Imported in both environments, so it needs the standard library and torch alone.
"""

import json
import os
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

ADDRESS = "BENCHMARK_ADDRESS"
KEY = b"benchmarks"  # both ends are on this machine; it keeps strangers' connections out


class Turns:
    """The worker's side. Rank 0 speaks; the other ranks of a run wait for it."""

    def __init__(self) -> None:
        host, _, port = os.environ[ADDRESS].partition(":")
        self.first = os.environ.get("RANK", "0") == "0"
        self.connection = Client((host, int(port)), authkey=KEY) if self.first else None
        self.tell({"imported": True})

    def tell(self, figures: dict[str, Any]) -> None:
        """Send the figures of a turn; on a GPU with the most memory that was allocated there."""
        import torch

        if torch.cuda.is_available():
            figures = figures | {"gpu_bytes": torch.cuda.max_memory_allocated()}
        if self.connection is not None:
            self.connection.send_bytes(json.dumps(figures).encode())

    def wait(self) -> None:
        """Return when it is this worker's turn, on all ranks at once."""
        if self.connection is not None:
            self.connection.recv_bytes()
        from torch import distributed

        if distributed.is_available() and distributed.is_initialized():
            distributed.barrier()


class Worker:
    """The driver's side of one run."""

    def __init__(self, listener: Listener) -> None:
        self.connection: Connection[Any, Any] = listener.accept()
        self.hear()  # imported

    def hear(self) -> dict[str, Any]:
        """What the worker says next.

        Raises:
            EOFError: it ended.
        """
        figures: dict[str, Any] = json.loads(self.connection.recv_bytes())
        return figures

    def go(self) -> None:
        """Give it the turn."""
        self.connection.send_bytes(b"go")
