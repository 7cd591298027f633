"""Names of models: as they are given, served and stored. Imports no torch."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from rlhf.errors import CheckpointError, ConfigError

MODEL_NAME = re.compile(r"[\w.-]{1,64}")


def check_path(path: str) -> None:
    """Check that a path is a folder, or may be a hub id.

    Raises:
        CheckpointError: it is neither.
    """
    folder = Path(path)
    # A hub id is owner/name; looking up a mistyped folder on the hub takes half a minute.
    may_be_id = path.count("/") == 1 and not folder.is_absolute() and not folder.parent.is_dir()
    if not folder.is_dir() and not may_be_id:
        raise CheckpointError(
            f"{path}: no such folder; give a folder or a hub id (owner/name).",
            code="missing-file",
        )


def named_models(arguments: Sequence[str]) -> dict[str, str]:
    """Name -> folder or hub id of each `DIR` or `NAME=DIR`.

    Raises:
        ConfigError: two models with one name, or a name with other characters than letters,
            digits, `.`, `_` and `-`.
    """
    split = [_split_name(argument) for argument in arguments]
    short = short_names([path for _, path in split])
    names = [name or other for (name, _), other in zip(split, short, strict=True)]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise ConfigError(
            f"two models have the name {repeated[0]}; give each another one, NAME=DIR.",
            code="repeated-key",
        )
    return dict(zip(names, (path for _, path in split), strict=True))


def given_names(arguments: Sequence[str]) -> set[str]:
    """The names of each `NAME=DIR`."""
    return {name for name, _ in map(_split_name, arguments) if name}


def _split_name(argument: str) -> tuple[str, str]:
    """(name, folder) of `NAME=DIR`; ("", DIR) of a folder, even if its path has a `=`."""
    name, equals, path = argument.partition("=")
    if not equals or Path(argument).exists() or "/" in name:
        return "", argument
    if not MODEL_NAME.fullmatch(name):
        raise ConfigError(
            f"{argument}: the name of a model may have letters, digits, '.', '_' and '-'.",
            code="bad-value",
        )
    return name, path


def short_names(paths: Sequence[str]) -> list[str]:
    """The folders' own names; where these are equal, with the folders above that tell them apart.

    `runs/a/model`, `runs/b/model` -> `a/model`, `b/model`. A repeated path gets a number.
    """
    parts = [Path(path).resolve().parts if Path(path).is_dir() else (path,) for path in paths]
    depth = 1
    while depth < max(map(len, parts), default=1):
        names = ["/".join(one[-depth:]) for one in parts]
        if len(set(names)) == len(set(parts)):
            break
        depth += 1
    names = ["/".join(one[-depth:]) for one in parts]
    return [name if names.index(name) == n else f"{name}#{n + 1}" for n, name in enumerate(names)]


def stored_names(paths: Sequence[str]) -> list[str]:
    """The names under which responses of these models are stored.

    A folder below the working directory is named from there, another absolute path by its short
    name: labels are shared, and the path would name this machine's users.
    """
    here = Path.cwd()
    return [
        path
        if not Path(path).is_absolute()
        else str(Path(path).relative_to(here))
        if Path(path).is_relative_to(here)
        else short
        for path, short in zip(paths, short_names(paths), strict=True)
    ]


def names_in_store(paths: Mapping[str, str], given: Collection[str]) -> dict[str, str]:
    """Served name -> the name under which responses of the model are stored, another for each.

    Args:
        paths: served name -> folder or hub id.
        given: names that the user chose, which are kept; the others are named by their paths, or
            as they are served where that name is taken.
    """
    others = [name for name in paths if name not in given]
    by_path = dict(zip(others, stored_names([paths[name] for name in others]), strict=True))
    stored: dict[str, str] = {}
    for name in paths:
        own = by_path.get(name, name)
        is_taken = name in others and own in {*given, *stored.values()}
        stored[name] = name if is_taken else own
    return stored
