"""Turns errors of a full, read-only or forbidden disk, or of a path, into one-line errors.

Python raises an `OSError` with a number. Libraries in C++ and Rust put it in other words, and
torch does not report it at all: there the free space of the run's output folder decides.
"""

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from rlhf.errors import ConfigError, RLHFError, TrainingError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)
# A file where a folder has to be, or the other way round; a name that no file can have.
BAD_PATH = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP)
MIN_FREE_BYTES = 16 << 20  # with less free space, a failed write failed for lack of space
TORCH_WRITERS = ("inline_container", "PytorchStreamWriter")  # in the error of torch.save
RUST_ERROR = re.compile(r"\(os error (\d+)\)")  # safetensors, tokenizers
SQLITE_ERRORS = {
    "database or disk is full": errno.ENOSPC,
    "attempt to write a readonly database": errno.EROFS,
}

_output_folder: list[Path] = []


def writes_to(folder: Path) -> None:
    """Remember the folder that this process writes to, for errors that name no file."""
    _output_folder[:] = [folder]


def disk_error(error: BaseException) -> RLHFError | None:
    """The disk error behind `error`, with the next step; None if the cause is something else.

    It is a `TrainingError` if a disk is full or has become read-only, and a `ConfigError` if the
    user has no permission for a file, or names a path that cannot be written.
    """
    for cause in _chain(error):
        number = _errno(cause)
        if number in FULL:
            return TrainingError(
                f"{_place(cause)}: {os.strerror(number)}; free some space there or name another "
                "place. Complete checkpoints are intact; resume with "
                "--resume_from_checkpoint latest.",
                code="disk-full",
            )
        if number in FORBIDDEN:
            kind = TrainingError if number == errno.EROFS else ConfigError
            return kind(
                f"{_place(cause)}: {os.strerror(number)}; make it accessible or name another "
                "place.",
                code="unreadable-file",
            )
        if number in BAD_PATH:
            return ConfigError(
                f"{_place(cause)}: {os.strerror(number)}; name another place.", code="bad-value"
            )
    return None


@contextlib.contextmanager
def disk_errors() -> Iterator[None]:
    """Raise `disk_error` in place of the errors that it explains."""
    try:
        yield
    except OSError as error:
        if isinstance(error, RLHFError) or (cause := disk_error(error)) is None:
            raise
        raise cause from error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and its causes."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _errno(error: BaseException) -> int | None:
    """The system's error number; None if the error does not reveal it."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    message = str(error)
    if (rust := RUST_ERROR.search(message)) is not None:
        return int(rust.group(1))
    for text, number in SQLITE_ERRORS.items():
        if text in message:
            return number
    if any(name in message for name in TORCH_WRITERS) and any(_is_full(f) for f in _output_folder):
        return errno.ENOSPC
    return None


def _place(error: BaseException) -> str:
    name = getattr(error, "filename2", None) or getattr(error, "filename", None)
    if isinstance(name, str | os.PathLike):
        return str(name)
    return str(_output_folder[0]) if _output_folder else "an output file"


def _is_full(folder: Path) -> bool:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free < MIN_FREE_BYTES
