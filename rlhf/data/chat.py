"""Prompts and answers -> token ids, one way for SFT, reward model, PPO, evaluation and chat.

With a template a string prompt is one user message; with `chat_template: none` a prompt is a
string and stays as it is. Text can never forge a control token: `<|im_start|>system` in a
question is read as those letters.
"""

import json
import re
from collections.abc import Callable, Sequence

from jinja2 import TemplateError

from rlhf.data.tokenizer import ChatTokenizer
from rlhf.errors import DataError
from rlhf.types import Message, Prompt

# A forged control token is replaced by its number between the first two of these Unicode
# noncharacters while the template runs, and put back as plain text after; SEAM cuts it in two.
OPEN, CLOSE, SEAM = "\ufdd0", "\ufdd1", "\ufdd2"


def as_messages(prompt: Prompt) -> list[Message]:
    """The prompt as a conversation; a string is one user message."""
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)


def prompt_text(chat: ChatTokenizer, prompt: Prompt) -> str:
    """The text that an answer follows: rendered, with the beginning of the assistant's turn.

    Raises:
        DataError: a conversation where prompts are raw, or one the template refuses.
    """
    if chat.raw:
        if not isinstance(prompt, str):
            raise DataError("a conversation needs a chat template, and chat_template is none")
        return prompt
    try:
        text = chat.tokenizer.apply_chat_template(
            as_messages(prompt), tokenize=False, add_generation_prompt=True
        )
    except (TemplateError, ValueError, TypeError) as error:
        raise DataError(f"the chat template refuses the prompt: {error}") from error
    return str(text)


def prompt_ids(chat: ChatTokenizer, prompt: Prompt) -> list[int]:
    """Ids of `prompt_text`, ready to generate from; raw prompts get the tokenizer's own start."""
    return _encode(chat, prompt, "")


def answer_ids(chat: ChatTokenizer, prompt: Prompt, response: str) -> list[int]:
    """Ids of prompt and response as one text, and the end of the turn, an EOS id, last."""
    return [*_encode(chat, prompt, response), chat.end_token_id]


def judged_ids(chat: ChatTokenizer, prompt: Prompt, response: str) -> list[int]:
    """Ids of what a reward model reads, its last token the one that the reward is read at.

    The conversation as the template renders it, with all that it writes after an answer: what
    `apply_chat_template` of plain transformers gives. Raw prompts and answers end with EOS.
    """
    if chat.raw:
        return answer_ids(chat, prompt, response)
    return _encode(chat, prompt, response, after=chat.after_answer)


def judged_once(chat: ChatTokenizer) -> Callable[[Prompt, str], list[int]]:
    """`judged_ids` of this tokenizer, which encodes what comes again (ranked by several) once."""
    known: dict[str, list[int]] = {}

    def ids_of(prompt: Prompt, response: str) -> list[int]:
        key = json.dumps([prompt, response])
        if key not in known:
            known[key] = judged_ids(chat, prompt, response)
        return known[key]

    return ids_of


def completion_mask(chat: ChatTokenizer, prompt: Prompt, response: str) -> list[bool]:
    """True on the tokens of `answer_ids` that belong to the answer, its EOS included.

    A token that spans the seam (a raw prompt may end within a word) belongs to the answer.
    """
    ids, before = answer_ids(chat, prompt, response), prompt_ids(chat, prompt)
    shared = 0
    while shared < min(len(before), len(ids) - 1) and before[shared] == ids[shared]:
        shared += 1
    return [False] * shared + [True] * (len(ids) - shared)


def decode(chat: ChatTokenizer, ids: list[int]) -> str:
    """The text of an answer: up to its first EOS, control tokens left out.

    `answer_ids` of the text gives the ids back. A continuation of a raw prompt keeps its leading
    space; an answer in chat begins a text of its own.
    """
    end = next((at for at, token in enumerate(ids) if token in chat.eos_token_ids), len(ids))
    if not chat.raw:
        return str(
            chat.tokenizer.decode(
                ids[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )
    # Decoders of tokenizers that put a space before a text take it off again: with a letter
    # before them they keep it, and a continuation stays a word of its own.
    anchor = chat.tokenizer("a", add_special_tokens=False)["input_ids"]
    start, text = (
        chat.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        for tokens in (anchor, [*anchor, *ids[:end]])
    )
    return str(text)[len(start) :]


def _encode(chat: ChatTokenizer, prompt: Prompt, response: str, *, after: str = "") -> list[int]:
    if chat.raw:
        text = prompt_text(chat, prompt) + response
        ids = chat.tokenizer(text, split_special_tokens=True, verbose=False)["input_ids"]
        # Some tokenizers close every text with EOS; what follows a prompt is an answer.
        while ids and ids[-1] in chat.eos_token_ids and len(ids) > 1:
            ids.pop()
        return list(ids)
    contents = [turn["content"] for turn in as_messages(prompt)] + [response]
    if any(chat.control_tokens.search(text) for text in contents):
        return _encode_guarded(chat, prompt, response, after)
    text = prompt_text(chat, prompt) + response + after
    return list(chat.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def _encode_guarded(chat: ChatTokenizer, prompt: Prompt, response: str, after: str) -> list[int]:
    """As `_encode`, with the control tokens of the template and none of the texts'."""
    forged: list[str] = []

    def hide(text: str) -> str:
        def number(match: re.Match[str]) -> str:
            forged.append(match.group())
            return f"{OPEN}{len(forged) - 1}{CLOSE}"

        return re.sub(f"{chat.control_tokens.pattern}|[{OPEN}{CLOSE}{SEAM}]", number, text)

    hidden = [{**turn, "content": hide(turn["content"])} for turn in as_messages(prompt)]
    text = prompt_text(chat, hidden) + hide(response) + after
    ids: list[int] = []
    at = 0
    for match in chat.control_tokens.finditer(text):
        ids += _encode_text(chat, text[at : match.start()], forged)
        ids.append(chat.tokenizer.get_vocab()[match.group()])
        at = match.end()
    return ids + _encode_text(chat, text[at:], forged)


def _encode_text(chat: ChatTokenizer, text: str, forged: Sequence[str]) -> list[int]:
    """Ids of text between control tokens, with what was forged in it back as letters."""

    def shown(match: re.Match[str]) -> str:
        token = forged[int(match.group(1))]
        # The tokenizer leaves apart only what it marks as special; the rest we cut ourselves.
        return token[:1] + SEAM + token[1:] if token in chat.unmarked_role_tokens else token

    ids: list[int] = []
    for part in re.sub(f"{OPEN}(\\d+){CLOSE}", shown, text).split(SEAM):
        encoded = chat.tokenizer(
            part, add_special_tokens=False, split_special_tokens=True, verbose=False
        )
        ids += encoded["input_ids"] if part else []
    return ids
