"""Runs a server, and ends it when the process that needs it is gone.

    python -m rlhf.rollouts.guard PID COMMAND...

A run that is killed cannot end its server, which would keep the memory of the GPU.
"""

import os
import signal
import subprocess
import sys
import time

import psutil

POLL_SECONDS = 1.0
SECONDS_TO_END = 15.0


def main() -> int:
    """Start the command; return its status, or end it with the watched process."""
    watched = psutil.Process(int(sys.argv[1]))
    server = subprocess.Popen(sys.argv[2:])
    signal.signal(signal.SIGTERM, lambda number, frame: server.terminate())
    while server.poll() is None:
        if not _runs(watched):
            _end(server)
            return 1
        time.sleep(POLL_SECONDS)
    return server.returncode


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _end(server: "subprocess.Popen[bytes]") -> None:
    """End the server and the processes that it started, which are of this session."""
    children = psutil.Process(server.pid).children(recursive=True)
    server.terminate()
    try:
        server.wait(SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        os.kill(server.pid, signal.SIGKILL)
    for child in children:
        if child.is_running():
            child.kill()


if __name__ == "__main__":
    sys.exit(main())
