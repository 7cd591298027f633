"""Run a stage's command, and make sure that it ends when this process does."""

import os
import signal
import subprocess
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Any

from rlhf.runtime.launcher import own_environment
from rlhf.runtime.orphan import PARENT
from rlhf.runtime.signals import Stopped


def stop_on_sigterm() -> None:
    """Make SIGTERM raise `Stopped`, so that a running command is ended before this process."""
    signal.signal(signal.SIGTERM, _raise_stopped)


def run_module(module: str, words: Sequence[str]) -> int:
    """The exit status of `python -m MODULE WORDS`; 128 + N where signal N ended it.

    Whatever interrupts the wait (Ctrl-C, SIGTERM) ends the command first.
    """
    environment = own_environment() | {PARENT: str(os.getpid())}
    child = subprocess.Popen([sys.executable, "-m", module, *words], env=environment)
    try:
        status = child.wait()
    except BaseException:
        child.terminate()
        child.wait()
        raise
    return status if status >= 0 else 128 - status


def as_words(keys: Mapping[str, Any]) -> list[str]:
    """`--key value` words; a list becomes several values, None leaves the key out."""
    words: list[str] = []
    for key, value in keys.items():
        if isinstance(value, list | tuple):
            words += [f"--{key}", *map(str, value)]
        elif value is not None:
            words.append(f"--{key}={value}")
    return words


def _raise_stopped(number: int, frame: types.FrameType | None) -> None:
    raise Stopped("stopped by SIGTERM; the same command goes on from there")
