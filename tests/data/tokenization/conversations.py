"""Conversations that the tests of chat templates render, and helpers that read the result."""

from transformers import AutoTokenizer

from rlhf.data.tokenization.chat import Encoded
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from tests.data.tokenization.templates import template

ASK = {"role": "user", "content": "Name a pet."}


DOG = {"role": "assistant", "content": "A dog."}


WHY = {"role": "user", "content": "Why?"}


CUTE = {"role": "assistant", "content": "Cute."}


CLOSED = {"enable_thinking": False}


CALL = {"type": "function", "function": {"name": "look", "arguments": {"place": "hall"}}}


TOOLS = ({"type": "function", "function": {"name": "look", "parameters": {}}},)


def kwargs_of(name: str) -> list[dict[str, object]]:
    """The variables to test a template with."""
    return [{}, CLOSED] if "enable_thinking" in template(name) else [{}]


def transformers_tokenizer(chat: ChatTokenizer):
    """The tokenizer as plain transformers loads it."""
    return AutoTokenizer.from_pretrained(chat.tokenizer.name_or_path)


def trained_ids(encoded: Encoded) -> list[int]:
    """The ids that the loss covers."""
    return [i for i, is_trained in zip(encoded.ids, encoded.trained, strict=True) if is_trained]


def runs_of(chat: ChatTokenizer, encoded: Encoded, *, trained: bool = True) -> str:
    """The text of the trained (or untrained) runs of a sequence, with a bar between them."""
    runs: list[list[int]] = []
    for at, (token, is_trained) in enumerate(zip(encoded.ids, encoded.trained, strict=True)):
        if is_trained is trained:
            if not at or encoded.trained[at - 1] is not trained:
                runs.append([])
            runs[-1].append(token)
    return "|".join(chat.tokenizer.decode(run) for run in runs)
