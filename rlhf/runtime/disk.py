"""Says in a line what a disk refused: it is full, read-only, or not this user's to write.

Python says so with an `OSError`. Libraries in C++ and Rust say it in other words, and torch does
not say it at all: there the free space of the folder that the run writes to tells.
"""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from rlhf.errors import ConfigError, RLHFError, TrainingError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)
LITTLE_BYTES = 16 << 20  # with less than this free, a write that failed failed for want of room
TORCH_WRITES = ("inline_container", "PytorchStreamWriter")  # in what torch.save raises
RUST_SAYS = re.compile(r"\(os error (\d+)\)")  # safetensors, tokenizers
SQLITE_SAYS = {
    "database or disk is full": errno.ENOSPC,
    "attempt to write a readonly database": errno.EROFS,
}

_written_to: list[Path] = []


def writes_to(folder: Path) -> None:
    """Remember the folder that this process writes to, for errors that name no file."""
    _written_to[:] = [folder]


def disk_error(error: BaseException) -> RLHFError | None:
    """The error that says what the disk refused, and what to do; None where `error` is another.

    A `TrainingError` where a disk is full or has become read-only, a `ConfigError` where the user
    may not use a file.
    """
    for one in _chain(error):
        number = _number(one)
        if number in FULL:
            return TrainingError(
                f"{_place(one)}: {os.strerror(number)}; free some space there or name another "
                "place. Checkpoints that were complete are intact: a run goes on with "
                "--resume_from_checkpoint latest."
            )
        if number in FORBIDDEN:
            kind = TrainingError if number == errno.EROFS else ConfigError
            return kind(
                f"{_place(one)}: {os.strerror(number)}; make it accessible or name another place."
            )
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and those from which it came."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _number(error: BaseException) -> int | None:
    """The system's number of what went wrong, as far as the error tells."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    words = str(error)
    if (rust := RUST_SAYS.search(words)) is not None:
        return int(rust.group(1))
    for said, number in SQLITE_SAYS.items():
        if said in words:
            return number
    if any(name in words for name in TORCH_WRITES) and any(_is_full(f) for f in _written_to):
        return errno.ENOSPC
    return None


def _place(error: BaseException) -> str:
    named = getattr(error, "filename2", None) or getattr(error, "filename", None)
    if isinstance(named, str | os.PathLike):
        return str(named)
    return str(_written_to[0]) if _written_to else "a file that was written"


def _is_full(folder: Path) -> bool:
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free < LITTLE_BYTES
