"""One run at a time in a folder: `.lock` in it is locked while a run writes there.

The kernel lets go of the lock when the process ends, however it ends. What stands in the file
(host, process, since when) is for the error alone. On NFS the server keeps such locks, so that
other hosts see them; it may take the server a minute or two to forget a host that crashed. Where a
file system knows no locks at all, what stands in the file decides: a process on this host is asked
for, one on another host counts as running. Where it keeps them to each host (Lustre with
`localflock`), two hosts do not see each other.
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
# A process that was killed keeps its locks until the kernel has taken it down, and one that only
# looks holds one for an instant.
PATIENCE_SECONDS = 2.0
NO_LOCKS = (errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL)


@dataclass(frozen=True)
class Holder:
    """Who holds a folder."""

    host: str
    pid: int
    started: float  # seconds since the epoch: tells two processes of one id apart
    since: str


_held: dict[Path, TextIO] = {}


def hold(folder: Path) -> None:
    """Keep the folder, which is there, for this process until it ends. Once is enough.

    Raises:
        ConfigError: another process holds it; host, process and since when.
    """
    path = folder.resolve() / LOCK
    if path in _held:
        return
    file = path.open("a+", encoding="utf-8")
    try:
        _wait_for(file, folder, "alone")
    except ConfigError:
        file.close()
        raise
    _write(file, json.dumps(asdict(_myself())))
    _release_at_the_end()
    _held[path] = file


def release(folder: Path) -> None:
    """Let go of a folder that this process holds."""
    file = _held.pop(folder.resolve() / LOCK, None)
    if file is not None:
        with contextlib.suppress(OSError):  # the disk may be gone or full, the lock goes anyway
            _write(file, "")
        file.close()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder, which is there, while this is open.

    Raises:
        ConfigError: another process holds it, or this one does.
    """
    if folder.resolve() / LOCK in _held:
        raise ConfigError(_in_use(folder, _myself()))
    hold(folder)
    try:
        yield
    finally:
        release(folder)


def check_not_locked(folder: Path) -> None:
    """Refuse a folder that another process holds, without making a file.

    Raises:
        ConfigError: host, process and since when.
    """
    path = folder.resolve() / LOCK
    if path in _held:
        return
    try:
        with path.open(encoding="utf-8") as file:
            _wait_for(file, folder, "shared")
    except OSError as error:
        if isinstance(error, ConfigError):
            raise


def _wait_for(file: TextIO, folder: Path, how: Literal["alone", "shared"]) -> None:
    """Lock the file; give up after a moment."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not _lock(file, folder, fcntl.LOCK_EX if how == "alone" else fcntl.LOCK_SH):
        if time.monotonic() > end:
            raise ConfigError(_in_use(folder, _read(file)))
        time.sleep(0.1)


def _lock(file: TextIO, folder: Path, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return not may_run(_read(file))
    return True


def may_run(holder: Holder | None) -> bool:
    """Whether the process that the file names may still be there; asked where nothing locks."""
    if holder is None:
        return False
    if holder.host != socket.gethostname():
        return True
    try:
        return bool(psutil.Process(holder.pid).create_time() == holder.started)
    except psutil.NoSuchProcess:
        return False


def _myself() -> Holder:
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


def _in_use(folder: Path, holder: Holder | None) -> str:
    by, gone = "another run", ""
    if holder is not None:
        by = f"process {holder.pid} on {holder.host} since {holder.since}"
        if holder.host != socket.gethostname():
            gone = f" (where that host is gone: delete {folder / LOCK})"
    return (
        f"output_dir {folder} is in use by {by}; wait for that run, end it, or name another "
        f"folder{gone}."
    )


@functools.cache
def _release_at_the_end() -> None:
    atexit.register(_release_all)
    os.register_at_fork(after_in_child=_forget)


def _release_all() -> None:
    for path in list(_held):
        release(path.parent)


def _forget() -> None:
    """A child made by fork would go on holding what its parent holds."""
    for file in _held.values():
        file.close()
    _held.clear()
