"""Checks of typed rows that need the tokenizer: each returns the reason why a row does not fit."""

import json
from collections.abc import Callable, Sequence

from rlhf.data.chat import answer_ids, judged_ids, prompt_ids
from rlhf.data.tokenizer import ChatTokenizer
from rlhf.errors import DataError
from rlhf.types import Demonstration, Prompt, PromptRow, Ranking


def demonstration_fits(
    chat: ChatTokenizer, max_length: int | None
) -> Callable[[Demonstration], str | None]:
    """Prompt, answer and end of turn have at most `max_length` tokens.

    Here and below: and at most as many as the model has positions, where that is known.
    """
    return lambda row: _answers_fit(chat, row.prompt, [row.completion], max_length, answer_ids)


def ranking_fits(chat: ChatTokenizer, max_length: int | None) -> Callable[[Ranking], str | None]:
    """Every answer with its prompt, as a reward model reads it, has at most `max_length` tokens."""
    seen: dict[str, str | None] = {}  # what several people ranked is encoded once

    def reason(row: Ranking) -> str | None:
        key = json.dumps([row.prompt, sorted(row.responses)])
        if key not in seen:
            seen[key] = _answers_fit(chat, row.prompt, row.responses, max_length, judged_ids)
        return seen[key]

    return reason


def prompt_fits(
    chat: ChatTokenizer, max_length: int | None, answer_length: int = 0
) -> Callable[[PromptRow], str | None]:
    """The prompt alone, ready to be answered, has at most `max_length` tokens.

    `answer_length` tokens more fit into the model's positions behind it.
    """
    return lambda row: _reason(
        lambda: _prompt_length(chat, row.prompt),
        "the prompt",
        max_length,
        positions=chat.max_positions,
        answer_length=answer_length,
    )


def text_fits(chat: ChatTokenizer, max_length: int | None) -> Callable[[str], str | None]:
    """The text has at most `max_length` tokens."""
    return lambda text: _reason(
        lambda: len(chat.tokenizer(text, verbose=False)["input_ids"]),
        "the text",
        max_length,
        positions=chat.max_positions,
    )


def _answers_fit(
    chat: ChatTokenizer,
    prompt: Prompt,
    responses: Sequence[str],
    max_length: int | None,
    encode: Callable[[ChatTokenizer, Prompt, str], list[int]],
) -> str | None:
    room = None if max_length is None else max_length - 1
    if reason := _reason(lambda: _prompt_length(chat, prompt), "the prompt", room):
        return reason
    return _reason(
        lambda: max(len(encode(chat, prompt, response)) for response in responses),
        "prompt and answer",
        max_length,
        positions=chat.max_positions,
    )


def _prompt_length(chat: ChatTokenizer, prompt: Prompt) -> int:
    if not chat.raw and isinstance(prompt, str) and not prompt.strip():
        raise DataError("the prompt is empty")
    length = len(prompt_ids(chat, prompt))
    if not length:
        raise DataError("the prompt is empty and the tokenizer has no start token to answer after")
    return length


def _reason(
    count: Callable[[], int],
    what: str,
    limit: int | None,
    *,
    positions: int | None = None,
    answer_length: int = 0,
) -> str | None:
    try:
        length = count()
    except DataError as error:
        return str(error)
    if limit is not None and length > limit:
        return f"{what}: {length} tokens, {limit} is the limit"
    if positions is not None and length + answer_length > positions:
        room = f" and {answer_length} for the answer" if answer_length else ""
        return f"{what}: {length} tokens{room}, but the model has {positions} positions"
    return None
