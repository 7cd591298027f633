"""Checks of typed rows that need the tokenizer: each returns the reason why a row does not fit."""

import json
from collections.abc import Callable

from rlhf.data.tokenization.chat import judged_ids, prompt_ids, training_examples
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import DataError
from rlhf.types import Demonstration, Prompt, PromptRow, Ranking, Tools

TRANSCRIPT = "\n\nHuman:"  # how a prompt of Anthropic's HH begins


def demonstration_fits(
    chat: ChatTokenizer, max_length: int | None
) -> Callable[[Demonstration], str | None]:
    """Prompt, response and end of turn have at most `max_length` tokens.

    Here and below: and at most as many as the model has positions, where that is known.
    """

    def reason(row: Demonstration) -> str | None:
        room = None if max_length is None else max_length - 1
        prompt = _reason(lambda: _prompt_length(chat, row.prompt, row.tools), "the prompt", room)
        return prompt or _reason(
            lambda: max(len(one.ids) for one in training_examples(chat, row)),
            "prompt and answer",
            max_length,
            positions=chat.max_positions,
        )

    return reason


def ranking_fits(chat: ChatTokenizer, max_length: int | None) -> Callable[[Ranking], str | None]:
    """Every answer with its prompt, as a reward model reads it, has at most `max_length` tokens."""
    seen: dict[str, str | None] = {}  # what several people ranked is encoded once

    def reason(row: Ranking) -> str | None:
        key = json.dumps([row.prompt, sorted(row.responses), row.tools])
        if key not in seen:
            seen[key] = _judged_fit(chat, row, max_length)
        return seen[key]

    return reason


def _judged_fit(chat: ChatTokenizer, row: Ranking, max_length: int | None) -> str | None:
    room = None if max_length is None else max_length - 1
    prompt = _reason(lambda: _prompt_length(chat, row.prompt, row.tools), "the prompt", room)
    return prompt or _reason(
        lambda: max(len(judged_ids(chat, row.prompt, text, row.tools)) for text in row.responses),
        "prompt and answer",
        max_length,
        positions=chat.max_positions,
    )


def prompt_fits(
    chat: ChatTokenizer, max_length: int | None, answer_length: int = 0
) -> Callable[[PromptRow], str | None]:
    """The prompt alone, ready to be answered, has at most `max_length` tokens.

    `answer_length` tokens more fit into the model's positions behind it.
    """
    return lambda row: _reason(
        lambda: _prompt_length(chat, row.prompt, row.tools),
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


def _prompt_length(chat: ChatTokenizer, prompt: Prompt, tools: Tools) -> int:
    if not chat.raw and isinstance(prompt, str) and not prompt.strip():
        raise DataError("the prompt is empty")
    if not chat.raw and isinstance(prompt, str) and prompt.startswith(TRANSCRIPT):
        raise DataError(
            "the prompt is a transcript of Human and Assistant, which would be one user message; "
            "write it as messages (`rlhf data convert --from hh` does so with pairs)"
        )
    length = len(prompt_ids(chat, prompt, tools))
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
