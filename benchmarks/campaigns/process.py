"""A server in a process of its own, which can be killed and started again."""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import httpx

START_SECONDS = 300  # a first start may create a database


class ServerProcess:
    """A server on one address.

    Args:
        command: the program and its arguments.
        address: of the server, without a path.
        folder: where it runs, and writes its output to server.log; None runs it here and drops its
            standard output.
        environment: variables in addition to those of this process.
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
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """The server, started."""
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """The number of its process."""
        assert self._process is not None  # it was started
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            TimeoutError: the server did not answer within START_SECONDS.
            ChildProcessError: the server ended instead.
        """
        self._process = self._open()
        try:
            self._wait_until_it_answers(self._process)
        except BaseException:
            self.kill()
            raise

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            try:
                httpx.get(f"{self.address}/health", timeout=5)
                return
            except httpx.TransportError:
                if process.poll() is not None:
                    raise ChildProcessError(f"the server ended: {self._command}") from None
                time.sleep(0.1)
        raise TimeoutError(f"the server did not start: {self._command}")

    def _open(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **self._environment}
        if self._folder is None:
            return subprocess.Popen(self._command, env=environment, stdout=subprocess.DEVNULL)
        with self._log(self._folder).open("ab") as log:
            return subprocess.Popen(
                self._command, cwd=self._folder, env=environment, stdout=log, stderr=log
            )

    def kill(self) -> None:
        """End the server with SIGKILL, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def output(self) -> str:
        """What the server has written to server.log."""
        assert self._folder is not None  # without a folder the output is dropped
        return self._log(self._folder).read_text(encoding="utf-8", errors="replace")

    @staticmethod
    def _log(folder: Path) -> Path:
        return folder / "server.log"
