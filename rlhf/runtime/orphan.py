"""Finds the launcher of this process, and ends the process once that launcher is gone.

A worker that outlives its launcher (killed with -9: out of memory, a time limit) would train on
unnoticed, and a resumed run would then use the same folder. Only launchers count: a shell that
started a recipe with `&` or nohup may end.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

import psutil

from rlhf import STARTED_BY
from rlhf.errors import STATUS_FAILED, TrainingError

POLL_SECONDS = 1.0
GRACE_SECONDS = 30.0  # for the checkpoint that follows SIGTERM
PARENT = "RLHF_PARENT"  # environment variable of a command: the id of the process that waits for it
_gone = threading.Event()
LAUNCHERS = (
    *("accelerate", "accelerate-launch", "accelerate.commands.launch"),
    *("torchrun", "torch.distributed.run", "torch.distributed.launch"),
    *("rlhf.runtime.agent", "deepspeed", "deepspeed.launcher.launch"),
)
BY_TORCHRUN = {"TORCHELASTIC_RUN_ID"}
BY_ACCELERATE = {"ACCELERATE_MIXED_PRECISION", "ACCELERATE_DYNAMO_MODE"}


def launcher() -> psutil.Process | None:
    """The nearest launcher above this process; None if it was started directly.

    torchrun's Python interface may also be called from a program with another name, which then is
    the parent.
    """
    if not _launched():
        return None
    ancestors = psutil.Process().parents()
    nearest = next((process for process in ancestors if _is_launcher(process)), None)
    if nearest is None and os.environ.keys() >= BY_TORCHRUN:
        return ancestors[0] if ancestors else None
    return nearest


def end_with_launcher() -> None:
    """From here on, end this process within seconds when its launcher is gone.

    It ends as by SIGTERM, with a checkpoint if it can write one, and by force after
    `GRACE_SECONDS`.

    Raises:
        TrainingError: the launcher is gone already.
    """
    if _launched() and os.getppid() != STARTED_BY:
        raise TrainingError(
            "the launcher of this process is gone; the process ends too.", code="process-lost"
        )
    process = launcher()
    if process is not None:
        _follow(process)


def launcher_is_gone() -> bool:
    """Whether this process ends because its launcher, or its parent, is gone."""
    return _gone.is_set()


def end_with_parent() -> None:
    """The same for a command whose parent has put its id into `RLHF_PARENT`."""
    parent_id = os.environ.pop(PARENT, None)
    if parent_id is None:
        return
    try:
        parent = psutil.Process(int(parent_id))
    except psutil.NoSuchProcess:
        parent = None
    if parent is None or os.getppid() != parent.pid:
        os.kill(os.getpid(), signal.SIGTERM)
    else:
        _follow(parent)


def _launched() -> bool:
    """Whether a launcher has set this environment."""
    return any(names <= os.environ.keys() for names in (BY_TORCHRUN, BY_ACCELERATE))


def _is_launcher(process: psutil.Process) -> bool:
    try:
        words = [word for word in process.cmdline() if not word.startswith("-")]
    except psutil.Error:
        return False
    # `torchrun …`, or an interpreter and its script or module.
    return any(Path(word).name in LAUNCHERS for word in words[:2])


def _follow(process: psutil.Process) -> None:
    threading.Thread(target=_end_after, args=(process,), name="orphan", daemon=True).start()


def _end_after(process: psutil.Process) -> NoReturn:
    while _runs(process):
        time.sleep(POLL_SECONDS)
    _gone.set()
    message = f"the launcher (process {process.pid}) is gone; stopping as by SIGTERM"
    with contextlib.suppress(OSError, ValueError):  # the terminal may be gone, too
        print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(STATUS_FAILED)


def _runs(process: psutil.Process) -> bool:
    """Whether the process runs. A zombie does not, although its parent has not waited for it."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
