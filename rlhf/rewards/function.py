"""Rewards that are a Python function, in TRL's signature, named `file.py:function`."""

import importlib.util
import inspect
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlhf.data.tokenization.thoughts import split_thought
from rlhf.errors import ConfigError
from rlhf.manifest import hash_text
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


def check_columns(source: str, columns: Collection[str]) -> None:
    """Refuse a function that asks for a column which the rows do not have.

    Raises:
        ConfigError: its name, and the columns that there are.
    """
    given = {"prompts", "completions", "thoughts", *columns}
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    for name, parameter in inspect.signature(load_function(source)).parameters.items():
        needed = parameter.default is inspect.Parameter.empty and parameter.kind in named
        if needed and name not in given:
            raise ConfigError(
                f"{source} takes {name}, and the rows have no such column (they have "
                f"{', '.join(sorted(columns)) or 'prompts alone'}); add it to the rows, or give "
                "the parameter a default."
            )


def call_function(
    function: RewardFunction,
    prompts: Sequence[Prompt],
    responses: Sequence[str],
    columns: Sequence[Mapping[str, Any]],
) -> Any:
    """`function(prompts=…, completions=…, **columns)`, whatever it returns.

    As in TRL a conversational prompt comes with a conversational completion,
    [{"role": "assistant", "content": text}]. Columns go by name, as lists; of a function
    without **kwargs only those that it takes. A row without the column gives None. A thought is
    no part of the completion: the column `thoughts` has it, "" where there is none.
    """
    split = [split_thought(response) for response in responses]
    completions = [
        text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]
        for prompt, (_, text) in zip(prompts, split, strict=True)
    ]
    columns = [
        {**row, "thoughts": thought} for row, (thought, _) in zip(columns, split, strict=True)
    ]
    names = {name for row in columns for name in row} - {"prompts", "completions"}
    parameters = inspect.signature(function).parameters
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        names &= set(parameters)
    values = {name: [row.get(name) for row in columns] for name in sorted(names)}
    return function(prompts=list(prompts), completions=completions, **values)


def _module(file: Path) -> Any:
    name = f"reward_{file.stem}_{hash_text(str(file.resolve()))[:8]}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up there
    folder = str(file.resolve().parent)
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(f"{file} does not load: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(folder)
    return module
