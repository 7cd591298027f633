"""Messages of a conversation -> prompt ids that leave room for a response."""

import math
from collections.abc import Sequence

from rlhf.chat.policy_info import PolicyInfo
from rlhf.data.rows.messages import messages_of
from rlhf.data.tokenization.chat import prompt_ids
from rlhf.errors import DataError
from rlhf.types import Message, Prompt, Tools

MIN_RESPONSE_TOKENS = 32  # where fewer positions are left, the oldest turns are dropped


def fit_prompt(
    model: PolicyInfo,
    messages: Sequence[Message],
    max_new_tokens: int,
    max_prompt_tokens: int | None = None,
) -> tuple[list[int], int]:
    """Prompt ids of a conversation, and how many of its oldest turns were dropped to fit.

    Args:
        model: the model that will respond.
        messages: the conversation.
        max_new_tokens: maximum length of the response.
        max_prompt_tokens: a limit in addition to the model's positions, if there is one.

    Raises:
        DataError: the last message alone is longer than the model's positions.
    """
    fitted = list(messages)
    first_turn = 1 if fitted[0]["role"] == "system" else 0
    ids = encode_prompt(model, fitted)
    needed = min(max_new_tokens, MIN_RESPONSE_TOKENS)
    most = math.inf if max_prompt_tokens is None else max_prompt_tokens
    while len(fitted) - first_turn > 2 and (
        len(ids) > most or remaining_positions(model, len(ids), max_new_tokens) < needed
    ):
        del fitted[first_turn : first_turn + 2]
        ids = encode_prompt(model, fitted)
    check_prompt_length(model, len(ids))
    return ids, len(messages) - len(fitted)


def messages_of_prompt(prompt: str | Sequence[Message]) -> list[Message]:
    """The messages of a prompt that a program passes; a text is one of the user.

    Raises:
        DataError: the prompt is neither a text nor a list of messages with role and content.
    """
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    messages = list(prompt) if isinstance(prompt, tuple) else prompt
    try:
        return messages_of(messages, "prompt")
    except DataError as error:
        raise DataError(
            f"{error}; give a text, or a list of messages with role and content.",
            code="bad-value",
        ) from error


def encode_prompt(model: PolicyInfo, messages: Sequence[Message], tools: Tools = ()) -> list[int]:
    """Prompt ids of these messages. A raw model gets the text of the last message alone.

    Raises:
        DataError: the last message is empty (a tool's result may be), a text is not UTF-8, or the
            template rejects the messages.
    """
    for message in messages:
        _check_utf8(message["content"])
    text = messages[-1]["content"]
    prompt: Prompt = text if model.chat.raw else list(messages)
    ids = prompt_ids(model.chat, prompt, tools)
    if not ids or not (text.strip() or messages[-1]["role"] == "tool"):
        raise DataError("the prompt is empty; enter some text.", code="bad-value")
    return ids


def check_prompt_length(model: PolicyInfo, length: int) -> None:
    """Checks that a prompt leaves at least one position for the response.

    Raises:
        DataError: it does not; the message has both numbers.
    """
    if remaining_positions(model, length, 1) < 1:
        raise DataError(
            f"the prompt is too long: {length} tokens, and the model has {model.positions} "
            "positions for prompt and response; send a shorter prompt.",
            code="too-long",
        )


def remaining_positions(model: PolicyInfo, length: int, default: int) -> int:
    """Positions left after a prompt of `length` tokens; `default` for a model without a limit."""
    return default if model.positions is None else model.positions - length


def _check_utf8(text: str) -> None:
    # Python passes bytes of a terminal or pipe that are not UTF-8 on as lone surrogates.
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"the text is not UTF-8 at character {error.start + 1}; correct that character.",
            code="bad-value",
        ) from None
