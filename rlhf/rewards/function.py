"""Rewards that are a Python function, in TRL's signature, named `file.py:function`."""

import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlhf.errors import ConfigError
from rlhf.types import Prompt

RewardFunction = Callable[..., Any]


def is_function(source: str) -> bool:
    """Whether the source is written as `file.py:function`."""
    path, colon, name = source.rpartition(":")
    return bool(colon) and path.endswith(".py") and name.isidentifier()


def load_function(source: str) -> RewardFunction:
    """The function that `file.py:function` names.

    The file's folder is on sys.path while it loads, so that it can import its neighbours.

    Raises:
        ConfigError: no such file, an error in it, no such function.
    """
    path, _, name = source.rpartition(":")
    file = Path(path)
    if not is_function(source) or not file.is_file():
        raise ConfigError(f"{source}: no such file; name a function as path/to/file.py:function.")
    function = getattr(_module(file), name, None)
    if not callable(function):
        raise ConfigError(f"{source}: {file.name} defines no function {name!r}.")
    return function  # type: ignore[no-any-return]


def call_function(
    function: RewardFunction,
    prompts: Sequence[Prompt],
    responses: Sequence[str],
    columns: Sequence[Mapping[str, Any]],
) -> Any:
    """`function(prompts=…, completions=…, **columns)`, whatever it returns.

    As in TRL a conversational prompt comes with a conversational completion,
    [{"role": "assistant", "content": text}]. Columns go by name, as lists; of a function
    without **kwargs only those that it takes. A row without the column gives None.
    """
    completions = [
        text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]
        for prompt, text in zip(prompts, responses, strict=True)
    ]
    names = {name for row in columns for name in row} - {"prompts", "completions"}
    parameters = inspect.signature(function).parameters
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        names &= set(parameters)
    values = {name: [row.get(name) for row in columns] for name in sorted(names)}
    return function(prompts=list(prompts), completions=completions, **values)


def _module(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"reward_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    folder = str(file.resolve().parent)
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(f"{file} does not load: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(folder)
    return module
