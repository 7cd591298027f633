"""A server in a process of its own, which can be killed and started again."""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

START_SECONDS = 300  # a first start may create a database


class ServerProcess:
    """A server on one address. It runs when the constructor returns.

    Args:
        command: the program and its arguments.
        address: of the server, without a path.
        folder: where it runs, and writes its output to server.log; None runs it here and drops its
            standard output.
        environment: variables in addition to those of this process.

    Raises:
        TimeoutError: the server did not answer within START_SECONDS.
        ChildProcessError: the server ended instead.
    """

    def __init__(
        self,
        command: Sequence[str],
        address: str,
        *,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.address = address
        self._command, self._folder, self._environment = command, folder, environment or {}
        self.start()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self.process = self._open()
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            try:
                httpx.get(f"{self.address}/health", timeout=5)
                return
            except httpx.TransportError:
                if self.process.poll() is not None:
                    raise ChildProcessError(f"the server ended: {self._command}") from None
                time.sleep(0.1)
        raise TimeoutError(f"the server did not start: {self._command}")

    def _open(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **self._environment}
        if self._folder is None:
            return subprocess.Popen(self._command, env=environment, stdout=subprocess.DEVNULL)
        with (self._folder / "server.log").open("ab") as log:
            return subprocess.Popen(
                self._command, cwd=self._folder, env=environment, stdout=log, stderr=log
            )

    def kill(self) -> None:
        """End the server with SIGKILL."""
        self.process.kill()
        self.process.wait()
