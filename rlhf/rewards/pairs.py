"""Checks of the prompts and responses that a program passes to a reward model."""

from collections.abc import Collection, Mapping, Sequence

from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import DataError
from rlhf.runtime.printing import counted
from rlhf.types import Prompt, Tools

LONGEST_SHOWN = 60  # characters of a value in a message


def check_pairs(prompts: Sequence[Prompt], responses: Sequence[str]) -> None:
    """Check that there is one response, a text, for each prompt.

    Raises:
        DataError: something other than a list, lists of different lengths, or a prompt or response
            of another type, which the message names.
    """
    for name, values in (("prompts", prompts), ("responses", responses)):
        if isinstance(values, str | Mapping) or not isinstance(values, Collection):
            raise DataError(
                f"{name} is a {type(values).__name__}, not a list. prompts and responses are lists "
                "with one response for each prompt; a single one is a list of length 1.",
                code="bad-value",
            )
    if len(prompts) != len(responses):
        raise DataError(
            f"{counted(len(prompts), 'prompt')} and {counted(len(responses), 'response')}; "
            "give one response for each.",
            code="bad-value",
        )
    for index, prompt in enumerate(prompts):
        _check_prompt(prompt, index)
    for index, response in enumerate(responses):
        if not isinstance(response, str):
            raise DataError(
                f"responses[{index}]={_shown(response)} is not a text.", code="bad-value"
            )


def check_tools(prompts: Sequence[Prompt], tools: Sequence[Tools] | None) -> None:
    """Check that there is a list of tools for each prompt; raises `DataError` otherwise."""
    if tools is not None and len(tools) != len(prompts):
        raise DataError(
            f"{len(tools)} lists of tools for {len(prompts)} prompts; give one for each, which may "
            "be empty.",
            code="bad-value",
        )


def check_templates(path: str, chat: ChatTokenizer, prompts: Sequence[Prompt]) -> None:
    """Check that prompts of messages have a chat template that renders them.

    Raises:
        DataError: the reward model has none.
    """
    if not chat.raw:
        return
    for index, prompt in enumerate(prompts):
        if not isinstance(prompt, str):
            raise DataError(
                f"prompts[{index}] is a list of messages, but the reward model {path} has no chat "
                "template; give texts, or the template that it was trained with "
                "(chat_template=FILE).",
                code="bad-value",
            )


def _check_prompt(prompt: object, index: int) -> None:
    if isinstance(prompt, str):
        return
    messages = list(prompt) if isinstance(prompt, list | tuple) else []
    if not messages or not all(map(_is_message, messages)):
        raise DataError(
            f"prompts[{index}]={_shown(prompt)} is neither a text nor a list of messages, each "
            'with "role" and "content".',
            code="bad-value",
        )


def _is_message(value: object) -> bool:
    if not isinstance(value, Mapping):
        return False
    return isinstance(value.get("role"), str) and isinstance(value.get("content"), str)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
