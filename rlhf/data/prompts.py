"""Prompts that a program passes: checked in the same way wherever they are used."""

from collections.abc import Mapping, Set, Sized

from rlhf.data.rows.messages import messages_of
from rlhf.errors import DataError

LONGEST_SHOWN = 60  # characters of a value in a message


def check_prompts(prompts: object) -> None:
    """Check that these are several prompts, each a text or a list of messages.

    Raises:
        DataError: something other than a list, or the first prompt of another type.
    """
    check_list("prompts", prompts)
    items: list[object] = list(prompts)  # type: ignore[call-overload]
    for index, item in enumerate(items):
        check_prompt(item, f"prompts[{index}]")


def check_list(name: str, values: object) -> None:
    """Check that `values` is a list, or has a length and an order like one.

    Raises:
        DataError: a single text, a mapping, a set, a generator.
    """
    if not isinstance(values, Sized) or isinstance(values, str | bytes | Mapping | Set):
        raise DataError(
            f"{name}={shown(values)} is a {type(values).__name__}, but prompts and responses are "
            "lists; give a list of length 1 for a single one.",
            code="bad-value",
        )


def check_prompt(prompt: object, name: str) -> None:
    """Check that a prompt is a text, or a list of messages with role and content as texts.

    Raises:
        DataError: it is something else, or a message that no chat template renders.
    """
    if isinstance(prompt, str):
        return
    messages = list(prompt) if isinstance(prompt, list | tuple) else []
    if not messages or not all(map(_is_message, messages)):
        raise DataError(
            f"{name}={shown(prompt)} is a {type(prompt).__name__}; give a text, or a list of "
            'messages, each with "role" and "content".',
            code="bad-value",
        )
    try:
        messages_of(messages, name)
    except DataError as error:
        raise DataError(f"{error}; correct the messages.", code="bad-value") from error


def shown(value: object) -> str:
    """The value for a message, shortened."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def _is_message(value: object) -> bool:
    if not isinstance(value, Mapping):
        return False
    return isinstance(value.get("role"), str) and isinstance(value.get("content"), str)
