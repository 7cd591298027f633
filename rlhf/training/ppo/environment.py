"""The environment of a run: checked against template and rows, and the player of its episodes."""

from collections.abc import Iterable, Sequence

from rlhf.data.tokenization.chat import prompt_ids
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.data.tokenization.tool_calls import check_tool_calls
from rlhf.data.tokenization.turns import ids_between_turns
from rlhf.errors import ConfigError, DataError
from rlhf.rollouts.environment import EnvironmentSpec, check_reset
from rlhf.rollouts.play import Player
from rlhf.training.ppo.config import PPOConfig
from rlhf.types import Message, PromptRow

_CALL = {"type": "function", "function": {"name": "sample_tool", "arguments": {}}}
_CALLING: Message = {"role": "assistant", "content": "", "tool_calls": [_CALL]}
_RESULT: Message = {"role": "tool", "content": "4", "name": "sample_tool"}


def check_environment(
    spec: EnvironmentSpec, chat: ChatTokenizer, rows: Sequence[PromptRow], *, max_prompt_length: int
) -> None:
    """Check that episodes can be written with this template, and begun from these rows.

    Args:
        spec: the environment.
        chat: the policy's tokenizer.
        rows: all prompts.
        max_prompt_length: longest prompt with the environment's tools, in tokens.

    Raises:
        ConfigError: raw prompts, a template that does not continue a conversation or leaves out
            tools, a parameter of `reset` that no row has.
        DataError: prompts that are too long with the environment's tools.
    """
    if chat.raw:
        raise ConfigError(
            f"environment {spec.name} needs a chat template, between whose turns its messages are "
            "written, but chat_template is none; use auto or a file.",
            code="unsupported",
        )
    check_reset(spec, {name for row in rows for name in row.columns})
    _check_template(chat, {"role": "assistant", "content": "4"}, {"role": "user", "content": "4"})
    if spec.tools or any(row.tools for row in rows):
        check_tool_calls(chat)
        _check_template(chat, _CALLING, _RESULT)
    if spec.tools:
        _check_lengths(spec, chat, rows, max_prompt_length)


def load_player(
    spec: EnvironmentSpec | None, chat: ChatTokenizer, config: PPOConfig, *, stops: bool
) -> Player | None:
    """The player of a run's episodes; None without an environment.

    Args:
        spec: the environment.
        chat: the policy's tokenizer.
        config: limits of episodes.
        stops: whether an environment without a usable reward ends the run.
    """
    if spec is None:
        return None
    return Player(
        spec,
        chat,
        max_turns=config.max_turns,
        max_prompt_length=config.max_prompt_length,
        max_completion_length=config.max_completion_length,
        stops=stops,
    )


def _check_template(chat: ChatTokenizer, turn: Message, message: Message) -> None:
    try:
        ids_between_turns(chat, turn, [message])
    except DataError as error:
        raise ConfigError(
            f"environment: a message of role {message['role']} cannot follow a turn: {error}",
            code="template-error",
        ) from error


def _check_lengths(
    spec: EnvironmentSpec, chat: ChatTokenizer, rows: Iterable[PromptRow], limit: int
) -> None:
    lengths = [len(prompt_ids(chat, row.prompt, [*spec.tools, *row.tools])) for row in rows]
    if max(lengths) > limit:
        long = sum(length > limit for length in lengths)
        raise DataError(
            f"{long} of {len(lengths)} prompts are longer than max_prompt_length={limit} with the "
            f"tools of environment {spec.name} (the longest has {max(lengths)} tokens); raise it, "
            "or shorten the descriptions of the tools.",
            code="too-long",
        )
