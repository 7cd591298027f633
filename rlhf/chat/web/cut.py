"""Prompt and answer as tokens, where an answer that is looked into is known by its text."""

from collections.abc import Callable, Sequence
from typing import Any

from rlhf.chat.conversation import encode
from rlhf.chat.loading import ChatModel
from rlhf.data.tokenization.chat import decode, encode_response
from rlhf.data.tokenization.thoughts import split_thought
from rlhf.types import Message


def cut(
    model: ChatModel, turns: Sequence[Message], answer: str, ids: Sequence[int] | None
) -> tuple[list[int], list[int]]:
    """Ids of prompt and answer. Without known `ids` the answer's text is cut anew.

    An answer with a thought, or whose template writes something before it, is cut as the template
    renders it.
    """
    prompt = encode(model, turns)
    if ids is not None:
        return prompt, list(ids)
    thought, text = ("", answer) if model.chat.raw else split_thought(answer)
    if model.chat.raw or not (thought or (text.strip() and model.chat.format.lead.strip())):
        return prompt, _letters(model, answer)
    encoded = encode_response(model.chat, list(turns), answer)
    before, after = encoded.ids[: encoded.prompt_length], encoded.ids[encoded.prompt_length :]
    end = next(at for at, token in enumerate(after) if token in model.chat.eos_token_ids)
    return before, after[:end] if text else _open_thought(model, after[:end], thought)


def _open_thought(model: ChatModel, ids: list[int], thought: str) -> list[int]:
    """The tokens of a thought that was cut off, which the template has closed."""
    for end in range(len(ids) + 1):
        if split_thought(decode(model.chat, ids[:end]))[0] == thought:
            return ids[:end]
    return ids


def _letters(model: ChatModel, text: str) -> list[int]:
    """Ids of a text in which nothing is a control token."""
    tokenize: Callable[..., Any] = model.chat.tokenizer
    ids: Sequence[int] = tokenize(text, add_special_tokens=False, split_special_tokens=True)[
        "input_ids"
    ]
    return list(ids)
