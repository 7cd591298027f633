"""One run at a time in a folder: its file `.lock` is locked while a run writes there.

The kernel releases the lock when the process ends for any reason. The content of the file (host,
process, start) is for the error message only. On NFS the server keeps such locks, so other hosts
see them; it may take the server a minute or two to release those of a crashed host. On a file
system without locks, the content of the file decides: a process on this host is looked up, one on
another host counts as running. If locks are local to each host (Lustre with `localflock`), two
hosts do not see each other's.
"""

import atexit
import contextlib
import errno
import fcntl
import functools
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TextIO

import psutil

from rlhf.errors import ConfigError

LOCK = ".lock"
# A killed process keeps its locks until the kernel has removed it, and a check holds one for an
# instant.
PATIENCE_SECONDS = 2.0
NO_LOCKS = (errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL)


@dataclass(frozen=True)
class Holder:
    """The process that holds a folder."""

    host: str
    pid: int
    started: float  # seconds since the epoch; distinguishes processes that reuse an id
    since: str


_held: dict[Path, TextIO] = {}


def hold(folder: Path) -> None:
    """Lock the existing folder until this process ends. Further calls do nothing.

    Raises:
        ConfigError: another process holds it. The message has its host, id and start.
    """
    path = folder.resolve() / LOCK
    if path in _held:
        return
    file = path.open("a+", encoding="utf-8")
    try:
        _wait_for_lock(file, folder, "exclusive")
    except ConfigError:
        file.close()
        raise
    _write(file, json.dumps(asdict(_this_process())))
    _release_at_exit()
    _held[path] = file


def release(folder: Path) -> None:
    """Unlock a folder that this process holds."""
    file = _held.pop(folder.resolve() / LOCK, None)
    if file is not None:
        with contextlib.suppress(OSError):  # disk gone or full: the lock is released anyway
            _write(file, "")
        file.close()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the existing folder during the block.

    Raises:
        ConfigError: another process holds it, or this one does.
    """
    if folder.resolve() / LOCK in _held:
        raise _in_use(folder, _this_process())
    hold(folder)
    try:
        yield
    finally:
        release(folder)


def check_not_locked(folder: Path) -> None:
    """Reject a folder that another process holds, without creating a file.

    Raises:
        ConfigError: another process holds it. The message has its host, id and start.
    """
    path = folder.resolve() / LOCK
    if path in _held:
        return
    with contextlib.suppress(OSError), path.open(encoding="utf-8") as file:
        _wait_for_lock(file, folder, "shared")


def was_abandoned(folder: Path) -> bool:
    """Whether the process that held the folder was killed, so that it could not release it."""
    path = folder.resolve() / LOCK
    if path in _held:
        return False
    with contextlib.suppress(OSError), path.open(encoding="utf-8") as file:
        # A new holder locks the file before it writes its name.
        return _lock(file, fcntl.LOCK_SH) and _read(file) is not None
    return False


def _wait_for_lock(file: TextIO, folder: Path, mode: Literal["exclusive", "shared"]) -> None:
    """Lock the file; give up after PATIENCE_SECONDS."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not _lock(file, fcntl.LOCK_EX if mode == "exclusive" else fcntl.LOCK_SH):
        if time.monotonic() > end:
            raise _in_use(folder, _read(file))
        time.sleep(0.1)


def _lock(file: TextIO, operation: int) -> bool:
    try:
        fcntl.flock(file, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return not may_run(_read(file))
    return True


def may_run(holder: Holder | None) -> bool:
    """Whether the process in the file may still run; for file systems without locks."""
    if holder is None:
        return False
    if holder.host != socket.gethostname():
        return True
    try:
        return bool(psutil.Process(holder.pid).create_time() == holder.started)
    except psutil.NoSuchProcess:
        return False


def _this_process() -> Holder:
    now = time.strftime("%Y-%m-%d %H:%M:%S %z")
    return Holder(socket.gethostname(), os.getpid(), psutil.Process().create_time(), now)


def _read(file: TextIO) -> Holder | None:
    file.seek(0)
    try:
        return Holder(**json.loads(file.read()))
    except (ValueError, TypeError):  # empty, or being written
        return None


def _write(file: TextIO, text: str) -> None:
    file.seek(0)
    file.truncate()
    file.write(text)
    file.flush()


def _in_use(folder: Path, holder: Holder | None) -> ConfigError:
    by, hint = "another run", ""
    if holder is not None:
        by = f"process {holder.pid} on {holder.host} since {holder.since}"
        if holder.host != socket.gethostname():
            hint = f" (if that host is gone: delete {folder / LOCK})"
    return ConfigError(
        f"output_dir {folder} is in use by {by}; wait for that run, stop it, or name another "
        f"folder{hint}.",
        code="run-locked",
    )


@functools.cache
def _release_at_exit() -> None:
    atexit.register(_release_all)
    os.register_at_fork(after_in_child=_forget)


def _release_all() -> None:
    for path in list(_held):
        release(path.parent)


def _forget() -> None:
    """Close the inherited files: a forked child would keep its parent's locks."""
    for file in _held.values():
        file.close()
    _held.clear()
