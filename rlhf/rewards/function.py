"""Rewards that are a function in TRL's signature: `file.py:function` or a generative model."""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from rlhf.data.tokenization.thoughts import split_thought
from rlhf.errors import ConfigError
from rlhf.runtime.user_module import load_module
from rlhf.types import Prompt

RewardFunction = Callable[..., object]
OTHER_KINDS = ("judge:", "verifier:", "http://", "https://")  # see kinds.py


def is_generative(source: str) -> bool:
    """Whether the source is a file with the settings of a generative reward model."""
    return source.endswith((".yaml", ".yml")) and not source.startswith(OTHER_KINDS)


def is_function(source: str) -> bool:
    """Whether the source is `file.py:function`, or the file of a generative reward model."""
    path, _, name = source.rpartition(":")
    return is_generative(source) or (path.endswith(".py") and name.isidentifier())


def load_function(source: str) -> RewardFunction:
    """The function that `file.py:function` names, or the generative reward model of a YAML file.

    The folder of a Python file is on sys.path while it loads, so that it can import its neighbours.

    Raises:
        ConfigError: no such file, an error in it, no such function.
        CheckpointError: the generative reward model has no such language model.
    """
    if is_generative(source):
        from rlhf.rewards.generative import GenerativeReward  # takes seconds, and functions do not

        return GenerativeReward(source)
    path, _, name = source.rpartition(":")
    file = Path(path)
    if not is_function(source) or not file.is_file():
        raise ConfigError(
            f"{source}: no such file; name a function as path/to/file.py:function.",
            code="bad-reward",
        )
    module = load_module(file, prefix="reward", code="bad-reward")
    function = getattr(module, name, None)
    if not callable(function):
        raise ConfigError(f"{source}: {file.name} defines no function {name!r}.", code="bad-reward")
    return function  # type: ignore[no-any-return]


def check_columns(function: RewardFunction, name: str, columns: Collection[str]) -> None:
    """Check that the function takes prompts and completions, and that rows have its other columns.

    Args:
        function: the reward function.
        name: what the message calls it.
        columns: names of the rows' other columns.

    Raises:
        ConfigError: the parameter, and those that a reward function may have on these rows; a
            built-in function without named parameters.
    """
    available = ["prompts", "completions", "thoughts", *sorted(columns)]
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        raise ConfigError(
            f"{name} has no signature that can be read; use a Python function "
            f"{name}(prompts, completions, **columns).",
            code="bad-reward",
        ) from None
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    for parameter in parameters:
        required = parameter.default is inspect.Parameter.empty and parameter.kind in by_name
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise ConfigError(
                f"{name} takes {parameter.name} by position, but a reward function is called by "
                "name; leave the / out of its parameters.",
                code="bad-reward",
            )
        if required and parameter.name not in available:
            raise ConfigError(
                f"{name} takes {parameter.name}, but no column has that name; available are "
                f"{', '.join(available)}. Rename the parameter, add the column to the rows, or "
                "give the parameter a default.",
                code="bad-reward",
            )
    takes_all = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)
    names = {each.name for each in parameters if each.kind in by_name}
    for needed in () if takes_all else ("prompts", "completions"):
        if needed not in names:
            raise ConfigError(
                f"{name} has no parameter {needed}, but is called as {name}(prompts=..., "
                f"completions=..., ...); add it, or **kwargs. Available are "
                f"{', '.join(available)}.",
                code="bad-reward",
            )


def call_function(
    function: RewardFunction,
    prompts: Sequence[Prompt],
    responses: Sequence[str],
    columns: Sequence[Mapping[str, object]],
) -> object:
    """`function(prompts=…, completions=…, **columns)`, unchecked.

    As in TRL, a conversational prompt comes with a conversational completion,
    [{"role": "assistant", "content": text}]. Columns are passed by name, as lists; a function
    without **kwargs gets only those that it takes. A row without the column passes None. A thought
    is not part of the completion: the column `thoughts` has it, "" where there is none.
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
