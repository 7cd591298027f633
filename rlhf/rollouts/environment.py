"""Environments that answer the model's turns: how they are named, checked and called."""

import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from rlhf.data.tokenization.rendering import as_messages
from rlhf.errors import ConfigError
from rlhf.runtime.user_module import load_module
from rlhf.types import Message, Prompt, Tools

ROLES = ("user", "tool", "system", "developer")  # of messages that an environment may give
FORM = "environment: path/to/file.py:Class"


class Environment(Protocol):
    """One episode. Each response has an environment of its own; both methods may be async.

    A class attribute `tools` lists functions, or JSON schemas of functions, that the model may
    call. A method `close` is called when the episode is over.
    """

    def reset(self, prompt: Prompt) -> object:
        """Begin the episode of a prompt.

        It may take other columns of the prompt's row by name, and `seed`, an integer that is the
        same for all responses to the prompt of an iteration.

        Returns:
            The conversation that the model answers first: None for the prompt, or a text or
            messages in its place.
        """

    def step(self, messages: list[Message]) -> object:
        """Answer the model's turn.

        messages: the conversation; the last message is the model's turn, with its tool calls
            parsed, if the environment has tools.

        Returns:
            (messages, reward, done): what follows the turn, as messages or a text, which is one of
            the user; the turn's reward; whether the episode is over.
        """


class Unusable(Exception):
    """What an environment returned and must not."""


@dataclass(frozen=True)
class EnvironmentSpec:
    """A checked class of environments."""

    name: str
    make: type[Any]
    tools: Tools  # JSON schemas


@dataclass(frozen=True)
class Step:
    """What `step` returned, checked."""

    messages: Sequence[Message]
    reward: float
    done: bool


def parse_environment(source: object) -> EnvironmentSpec:
    """The spec of a class, or of `file.py:Class`.

    Raises:
        ConfigError: no such file or class, an error in it, a class without reset or step, tools
            without a schema.
    """
    name = source if isinstance(source, str) else getattr(source, "__name__", repr(source))
    kind = _load(source) if isinstance(source, str) else source
    if not isinstance(kind, type):
        raise ConfigError(f"environment {name} is no class; use {FORM}.", code="bad-environment")
    for method in ("reset", "step"):
        if not callable(getattr(kind, method, None)):
            raise ConfigError(
                f"environment {name} has no method {method}; it needs reset(prompt) and "
                "step(messages) -> (messages, reward, done).",
                code="bad-environment",
            )
    return EnvironmentSpec(name=name, make=kind, tools=_schemas(kind, name))


def check_reset(spec: EnvironmentSpec, columns: Collection[str]) -> None:
    """Check that the parameters of `reset` are there.

    columns: names of the rows' other columns.

    Raises:
        ConfigError: a parameter that no row has.
    """
    available = {"prompt", "seed", *columns}
    for parameter in _reset_parameters(spec):
        required = parameter.default is inspect.Parameter.empty and parameter.kind not in (
            inspect.Parameter.VAR_POSITIONAL,
            inspect.Parameter.VAR_KEYWORD,
        )
        if required and parameter.name not in available:
            raise ConfigError(
                f"reset of environment {spec.name} takes {parameter.name}, but no column has that "
                f"name; available are {', '.join(sorted(available))}. Rename the parameter, add "
                "the column to the rows, or give the parameter a default.",
                code="bad-environment",
            )


def reset_arguments(
    spec: EnvironmentSpec, prompt: Prompt, columns: Mapping[str, object], seed: int
) -> dict[str, object]:
    """What `reset` is called with: everything, or the parameters that it has."""
    parameters = _reset_parameters(spec)
    values = {**columns, "seed": seed, "prompt": prompt}
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters):
        return values
    names = {each.name for each in parameters}
    return {name: value for name, value in values.items() if name in names}


def read_start(value: object, prompt: Prompt) -> Prompt:
    """The conversation that `reset` returned, checked.

    Raises:
        Unusable: why it is none.
    """
    if value is None:
        return prompt
    if isinstance(value, str):
        return value
    messages = _messages(value, (*ROLES, "assistant"))
    if not messages or messages[-1]["role"] == "assistant":
        raise Unusable(f"returned {value!r:.200}, which has no message for the model to answer")
    return messages


def read_step(value: object) -> Step:
    """What `step` returned, checked.

    Raises:
        Unusable: what is wrong with it.
    """
    if not isinstance(value, tuple) or len(value) != 3:
        raise Unusable(f"returned {value!r:.200}; it has to return (messages, reward, done)")
    messages, reward, done = value
    if isinstance(reward, str | bytes):
        raise Unusable(f"returned the reward {reward!r}, which is not a number")
    try:
        number = float(reward)
    except (TypeError, ValueError) as error:
        raise Unusable(f"returned the reward {reward!r:.200}, which is not a number") from error
    if not abs(number) < float("inf"):
        raise Unusable(f"returned the reward {number}, which is not finite")
    read = as_messages(messages) if isinstance(messages, str) else _messages(messages, ROLES)
    if not done and not read:
        raise Unusable("returned no message for the next turn, and done=False")
    return Step(messages=read, reward=number, done=bool(done))


def _messages(value: object, roles: Collection[str]) -> list[Message]:
    if value is None:
        return []
    if not isinstance(value, Sequence):
        raise Unusable(f"returned {value!r:.200}, which is no list of messages")
    for message in value:
        if not isinstance(message, Mapping) or not isinstance(message.get("content"), str):
            raise Unusable(
                f'returned the message {message!r:.200}; use {{"role": …, "content": TEXT}}'
            )
        if message.get("role") not in roles:
            raise Unusable(
                f"returned a message of role {message.get('role')!r}; use {', '.join(roles)}"
            )
    return [cast(Message, dict(message)) for message in value]


def _reset_parameters(spec: EnvironmentSpec) -> list[inspect.Parameter]:
    """The parameters of `reset` without `self`."""
    parameters = inspect.signature(spec.make.reset).parameters.values()
    return [parameter for parameter in parameters if parameter.name != "self"]


def _load(source: str) -> object:
    path, _, name = source.rpartition(":")
    file = Path(path)
    if file.suffix != ".py" or not name.isidentifier() or not file.is_file():
        raise ConfigError(
            f"environment {source}: no such file; use {FORM}.", code="bad-environment"
        )
    module = load_module(file, prefix="environment", code="bad-environment")
    if not hasattr(module, name):
        raise ConfigError(
            f"environment {source}: {file.name} defines no class {name!r}.", code="bad-environment"
        )
    return getattr(module, name)


def _schemas(kind: type, name: str) -> Tools:
    """JSON schemas of the class's tools; those of functions are made from their docstrings."""
    tools = list(getattr(kind, "tools", ()))
    return [tool if isinstance(tool, Mapping) else _schema(tool, name) for tool in tools]


def _schema(function: Any, name: str) -> Mapping[str, object]:
    from transformers.utils.chat_template_utils import get_json_schema  # takes seconds

    try:
        return cast(Mapping[str, object], get_json_schema(function))
    except Exception as error:  # its own exceptions, and those of other values than functions
        raise ConfigError(
            f"environment {name}: no JSON schema can be made of the tool {function!r} ({error}); "
            "give it type hints and a docstring with Args, or write the schema.",
            code="bad-environment",
        ) from error
