"""Paths that a user names: a home folder, an output folder to create, inputs of a run."""

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from rlhf.errors import ConfigError
from rlhf.runtime.config import as_dict

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def expand_home(path: str | Path) -> str:
    """The path as text, with the user's home in place of `~`.

    Raises:
        ConfigError: `~NAME` of a user that does not exist.
    """
    if not str(path).startswith("~"):
        return str(path)
    try:
        return str(Path(path).expanduser())
    except RuntimeError as error:
        raise ConfigError(
            f"{path}: this machine has no home folder of that name; write the whole path, or ./~… "
            "for a folder whose name starts with ~.",
            code="bad-value",
        ) from error


def nearest_existing(path: Path) -> Path:
    """The path itself if it exists, else the nearest folder or file above it that does."""
    return next(each for each in (path, *path.absolute().parents) if each.exists())


def check_output_file(path: Path) -> None:
    """Check that a file can be written there, before the work whose result it holds.

    Raises:
        ConfigError: the path is a folder, is below a file, or its folder is read-only.
    """
    lowest = nearest_existing(path)
    folder = lowest if lowest.is_dir() else lowest.parent
    number = 0
    if path.is_dir():
        number = errno.EISDIR
    elif lowest != path and lowest != folder:
        number = errno.ENOTDIR
    elif not os.access(folder, os.W_OK | os.X_OK):
        number = errno.EACCES
    if number:
        raise ConfigError(
            f"{path} cannot be written: {os.strerror(number)}; name another file.",
            code="bad-value",
        )


def make_folder(folder: Path) -> None:
    """Create the folder if it does not exist.

    Raises:
        ConfigError: it cannot be created or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"output_dir {folder} cannot be created: {error.strerror}; name another folder.",
            code="bad-value",
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(
            f"output_dir {folder} cannot be written to; name another folder.", code="bad-value"
        )


def check_inputs_outside(folder: Path, *configs: "DataclassInstance") -> None:
    """Reject a folder to empty that has an input of `configs`.

    Raises:
        ConfigError: a key names a path in the folder.
    """
    for key, value in as_dict(*configs).items():
        for word in value if isinstance(value, list) else [value]:
            if key != "output_dir" and isinstance(word, str) and _is_path_in(word, folder):
                raise ConfigError(
                    f"{key} {word} is in output_dir {folder}, which --overwrite would empty; "
                    "name another output_dir.",
                    code="key-conflict",
                )


def _is_path_in(word: str, folder: Path) -> bool:
    """Whether `word` names a path in the folder: PATH, NAME=PATH, WEIGHT*PATH or FILE:function."""
    texts = [word, word.partition("=")[2], word.partition("*")[2]]
    paths = [Path(part) for text in texts for part in (text, text.rpartition(":")[0]) if part]
    parent = folder.resolve()
    return any(_exists(path) and path.resolve().is_relative_to(parent) for path in paths)


def _exists(path: Path) -> bool:
    """Whether there is such a file; a text that is no path, such as JSON, may be too long."""
    try:
        return path.exists()
    except OSError:
        return False
