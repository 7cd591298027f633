"""Control tokens in texts, which must not act as such: hidden from the template, then letters."""

import re
from collections.abc import Mapping, Sequence

from rlhf.data.tokenization.tokenizer import ChatTokenizer

# A forged control token is replaced by its number between the first two of these Unicode
# noncharacters while the template runs, and put back as plain text later; CUT splits it in two.
OPEN, CLOSE, CUT = "\ufdd0", "\ufdd1", "\ufdd2"
TRUSTED = ("assistant", "system", "developer")  # roles whose text may contain content tokens


def hidden(
    chat: ChatTokenizer, value: Mapping[str, object], forged: list[str]
) -> dict[str, object]:
    """The message or tool with the control tokens in its texts hidden; they are added to `forged`.

    Tokens that are content, such as `<think>`, are kept in an assistant's or system message, and
    are letters in a user's or a tool's.
    """
    trusted = value.get("role", "system") in TRUSTED
    tokens = chat.control_tokens if trusted else chat.template_tokens
    pattern = re.compile(f"{tokens.pattern}|[{OPEN}{CLOSE}{CUT}]")

    def number(match: re.Match[str]) -> str:
        forged.append(match.group())
        return f"{OPEN}{len(forged) - 1}{CLOSE}"

    def hide(part: object) -> object:
        if isinstance(part, str):
            return pattern.sub(number, part)
        if isinstance(part, Mapping):
            return {hide(key): hide(content) for key, content in part.items()}
        return [hide(item) for item in part] if isinstance(part, list | tuple) else part

    return {key: part if key == "role" else hide(part) for key, part in value.items()}


def encode_text(chat: ChatTokenizer, text: str, forged: Sequence[str]) -> list[int]:
    """Ids of a rendered text, in which only the template's own control tokens act as such."""
    if not forged:
        return list(chat.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    ids: list[int] = []
    at = 0
    vocabulary = chat.tokenizer.get_vocab()
    for match in chat.control_tokens.finditer(text):
        ids += _between(chat, text[at : match.start()], forged)
        ids.append(vocabulary[match.group()])
        at = match.end()
    return ids + _between(chat, text[at:], forged)


def _between(chat: ChatTokenizer, text: str, forged: Sequence[str]) -> list[int]:
    """Ids of text between control tokens, in which forged tokens are letters again."""
    added = chat.tokenizer.added_tokens_decoder.values()
    special = {token.content for token in added if token.special}

    def as_letters(match: re.Match[str]) -> str:
        token = forged[int(match.group(1))]
        # The tokenizer splits only tokens that it marks as special; the others are cut here.
        return token if token in special else token[:1] + CUT + token[1:]

    ids: list[int] = []
    for part in re.sub(f"{OPEN}(\\d+){CLOSE}", as_letters, text).split(CUT):
        encoded = chat.tokenizer(
            part, add_special_tokens=False, split_special_tokens=True, verbose=False
        )
        ids += encoded["input_ids"] if part else []
    return ids
