"""Who launched this process, and its end when that launcher is gone.

A worker that outlives its launcher (killed with -9: out of memory, a time limit) trains on
unseen, and a resumed run then works in the same folder. Only launchers count: a shell that
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

LOOK_SECONDS = 1.0
GRACE_SECONDS = 30.0  # for the checkpoint that follows SIGTERM
PARENT = "RLHF_PARENT"  # in the environment of a command: the process that waits for it
LAUNCHERS = (
    *("accelerate", "accelerate-launch", "accelerate.commands.launch"),
    *("torchrun", "torch.distributed.run", "torch.distributed.launch"),
    *("rlhf.runtime.agent", "deepspeed", "deepspeed.launcher.launch"),
)
BY_TORCHRUN = {"TORCHELASTIC_RUN_ID"}
BY_ACCELERATE = {"ACCELERATE_MIXED_PRECISION", "ACCELERATE_DYNAMO_MODE"}


def launcher() -> psutil.Process | None:
    """The launcher of this process: the nearest one above it, or None where nobody launched it.

    torchrun's interface may also be called from a program of another name, which then is the
    parent.
    """
    if not _launched():
        return None
    above = psutil.Process().parents()
    known = next((process for process in above if _is_launcher(process)), None)
    if known is None and os.environ.keys() >= BY_TORCHRUN:
        return above[0] if above else None
    return known


def end_with_launcher() -> None:
    """From here on, end this process within seconds when its launcher is gone.

    It ends as by SIGTERM, so with a checkpoint where it can write one, and by force after
    `GRACE_SECONDS`.

    Raises:
        TrainingError: the launcher has gone already.
    """
    if _launched() and os.getppid() != STARTED_BY:
        raise TrainingError("the launcher of this process is gone; it ends too.")
    above = launcher()
    if above is not None:
        _follow(above)


def end_with_parent() -> None:
    """The same for a command whose parent has named itself in `RLHF_PARENT`."""
    named = os.environ.pop(PARENT, None)
    if named is None:
        return
    try:
        parent = psutil.Process(int(named))
    except psutil.NoSuchProcess:
        parent = None
    if parent is None or os.getppid() != parent.pid:
        os.kill(os.getpid(), signal.SIGTERM)
    else:
        _follow(parent)


def _launched() -> bool:
    """Whether the environment is one that a launcher has made."""
    return any(names <= os.environ.keys() for names in (BY_TORCHRUN, BY_ACCELERATE))


def _is_launcher(process: psutil.Process) -> bool:
    try:
        words = [word for word in process.cmdline() if not word.startswith("-")]
    except psutil.Error:
        return False
    # `torchrun …`, or an interpreter with the script or module that it runs.
    return any(Path(word).name in LAUNCHERS for word in words[:2])


def _follow(process: psutil.Process) -> None:
    threading.Thread(target=_end_after, args=(process,), name="orphan", daemon=True).start()


def _end_after(process: psutil.Process) -> NoReturn:
    while _runs(process):
        time.sleep(LOOK_SECONDS)
    words = f"process {process.pid}, which launched this one, is gone; stops as by SIGTERM"
    with contextlib.suppress(OSError, ValueError):  # the terminal may be gone, too
        print(f"{Path(sys.argv[0]).name}: {words}", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(STATUS_FAILED)


def _runs(process: psutil.Process) -> bool:
    """One that was killed and whose parent has not asked for its status is gone, too."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
