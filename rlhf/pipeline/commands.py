"""Run the command of a stage as a child process that never outlives this one."""

import os
import signal
import subprocess
import sys
import types
from collections.abc import Mapping, Sequence

from rlhf.runtime.launcher import own_environment, shell_status
from rlhf.runtime.orphan import PARENT
from rlhf.runtime.signals import Stopped


def stop_on_sigterm() -> None:
    """Make SIGTERM raise `Stopped`, so that a running command is stopped before this process."""
    signal.signal(signal.SIGTERM, _raise_stopped)


def run_module(module: str, arguments: Sequence[str]) -> int:
    """The exit status of `python -m MODULE ARGUMENTS`; 128 + N if signal N killed it.

    An interruption of the wait (Ctrl-C, SIGTERM) terminates the command first.
    """
    environment = own_environment() | {PARENT: str(os.getpid())}
    child = subprocess.Popen([sys.executable, "-m", module, *arguments], env=environment)
    try:
        return shell_status(child.wait())
    except BaseException:
        child.terminate()
        child.wait()
        raise


def as_arguments(keys: Mapping[str, object]) -> list[str]:
    """`--key value` arguments; a list becomes several values, None leaves the key out."""
    arguments: list[str] = []
    for key, value in keys.items():
        if isinstance(value, list | tuple):
            arguments += [f"--{key}", *map(str, value)]
        elif value is not None:
            arguments.append(f"--{key}={value}")
    return arguments


def _raise_stopped(number: int, frame: types.FrameType | None) -> None:
    raise Stopped("stopped by SIGTERM; run the same command again to resume")
