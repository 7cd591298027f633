"""Arguments of `evaluate` as the values of configuration keys, or a `ConfigError`."""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TypeAlias

from rlhf.errors import ConfigError
from rlhf.rewards.function import RewardFunction
from rlhf.rewards.model import RewardModel

Models: TypeAlias = str | Path | Mapping[str, str | Path] | Sequence[str | Path]
"""Folders, hub ids or addresses by name, several of them, or one."""
JudgeLike: TypeAlias = str | Path | RewardFunction | RewardModel
"""`file.py:function`, a reward model's folder or hub id, a Python function, or a loaded model."""


def named_models(models: Models) -> list[str]:
    """The models as NAME=PATH or PATH.

    Raises:
        ConfigError: there is no model, one is not a path, or a name contains `=`.
    """
    if isinstance(models, Mapping):
        named = [f"{_name(name)}={_path(path, 'models')}" for name, path in models.items()]
    else:
        named = _paths(models, "models")
    if not named:
        raise ConfigError("models is empty; name one model or several.", code="bad-value")
    return named


def training_files(files: str | Path | Sequence[str | Path]) -> list[str]:
    """The training files; one is a list of one.

    Raises:
        ConfigError: one is not a path.
    """
    return _paths(files, "train_data")


def several_judges(
    judge: JudgeLike | Sequence[JudgeLike] | None,
) -> list[str | RewardFunction | RewardModel]:
    """The judges; one is a list of one.

    Raises:
        ConfigError: one is neither a source of rewards nor a path.
    """
    if judge is None:
        return []
    judges = list(judge) if isinstance(judge, list | tuple) else [judge]
    return [_judge(each) for each in judges]


def _judge(judge: object) -> str | RewardFunction | RewardModel:
    if isinstance(judge, RewardModel):
        return judge
    if isinstance(judge, str | PathLike):
        return str(judge)
    if callable(judge):
        return judge
    raise ConfigError(
        f"judge={judge!r} has type {type(judge).__name__}; use file.py:function, a Python "
        "function, a reward model's folder or hub id, or a RewardModel.",
        code="bad-reward",
    )


def _name(name: object) -> str:
    if not isinstance(name, str) or "=" in name:
        raise ConfigError(
            f"models: the name {name!r} is not a text without `=`; use another name.",
            code="bad-value",
        )
    return name


def _paths(paths: object, key: str) -> list[str]:
    if isinstance(paths, list | tuple):
        return [_path(path, key) for path in paths]
    return [_path(paths, key)]


def _path(path: object, key: str) -> str:
    """The path or hub id. A loaded model is rejected: it may differ from the files it came from."""
    if isinstance(path, str | PathLike):
        return str(path)
    raise ConfigError(
        f"{key}: {type(path).__name__} is not a path; give the folder or hub id that it was "
        "loaded from."
        if path is not None
        else f"{key}: None is not a path; give a folder or a hub id.",
        code="bad-value",
    )
