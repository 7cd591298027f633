"""Runs a server, and ends it when the process that needs it is gone.

    python -m rlhf.rollouts.guard PID COMMAND...

A run that is killed cannot end its server, which would keep the memory of the GPU. Nor can a server
that is killed end its engine, which is a process of its own.
"""

import contextlib
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
    if os.getpgrp() != os.getpid():
        os.setpgrp()  # the server's processes are those of this group
    server = subprocess.Popen(sys.argv[2:])
    signal.signal(signal.SIGTERM, lambda number, frame: server.terminate())
    while server.poll() is None:
        if not _runs(watched):
            _end(server)
            return 1
        time.sleep(POLL_SECONDS)
    _kill_others()
    return server.returncode


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _end(server: "subprocess.Popen[bytes]") -> None:
    """End the server and the processes that it started."""
    server.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(SECONDS_TO_END)
    _kill_others()


def _kill_others() -> None:
    """Kill the other processes of this group: those of a killed server have another parent."""
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            if process.pid != os.getpid() and os.getpgid(process.pid) == os.getpgrp():
                process.kill()


if __name__ == "__main__":
    sys.exit(main())
