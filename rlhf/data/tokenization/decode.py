"""The text of a response and its thought, from the ids that a model wrote."""

from bisect import bisect_left
from collections.abc import Sequence

from rlhf.data.tokenization.thoughts import END_THINK, THINK, split_thought, with_thought
from rlhf.data.tokenization.tokenizer import ChatTokenizer


def decode(chat: ChatTokenizer, ids: Sequence[int]) -> str:
    """The text of a response up to its first EOS, without control tokens, its thought first.

    `sequence_ids` of the text returns the same ids. A continuation of a raw prompt keeps its
    leading space; a response in a chat begins a text of its own.
    """
    end = next((at for at, token in enumerate(ids) if token in chat.eos_token_ids), len(ids))
    if chat.raw:
        return _continuation(chat, list(ids[:end]))
    return _response(chat, list(ids[:end]), finished=end < len(ids))


def thought_length(chat: ChatTokenizer, ids: Sequence[int]) -> int:
    """Number of tokens of a response's thought and the tokens around it; 0 without one.

    A thought that was cut off counts as a whole.
    """
    text = decode(chat, ids)
    if not split_thought(text)[0]:
        return 0
    start = None if chat.raw else _after_marker(chat, list(ids))
    if start is None and END_THINK in text:  # letters, where the template has no thoughts
        start = bisect_left(
            range(len(ids) + 1), True, key=lambda at: END_THINK in _text(chat, list(ids[:at]))
        )
    return len(ids) if start is None else start


def _response(chat: ChatTokenizer, ids: list[int], *, finished: bool) -> str:
    template = chat.format
    start = _after_marker(chat, ids)
    if start is not None:
        thought = _thought_in(chat, _text(chat, ids[:start], control=True))
        return with_thought(thought, _trimmed(chat, _text(chat, ids[start:]).lstrip("\n")))
    if not template.renders_thoughts:
        text = _text(chat, ids)
        # The template leaves thoughts to the text, and its prompt may have opened one. A response
        # that ended without closing it has no thought.
        thinks = END_THINK in text or not finished
        opened = template.prompt_opens_thought and thinks and text.strip()
        return f"{THINK}\n{text}" if opened else _trimmed(chat, text)
    written = _text(chat, ids, control=True).lstrip()
    if template.marker and chat.marker_end_id is None and template.marker in written:
        # The vocabulary has the tags as letters.
        before, _, rest = written.partition(template.marker)
        rest = chat.control_tokens.sub("", rest).lstrip("\n")
        return with_thought(_thought_in(chat, before), _trimmed(chat, rest))
    # The beginning of a header may still become one; a finished `<` is a response.
    unfinished = not finished or chat.control_tokens.search(written)
    headers = (template.thought_open.strip(), template.lead.strip())
    if unfinished and _begins_with_part_of(written, headers):
        return ""
    if template.prompt_opens_thought or written.startswith(_openings(chat)):
        thought = _thought_in(chat, written)
        return f"{THINK}\n{thought}" if thought else ""
    return _trimmed(chat, _text(chat, ids))


def _after_marker(chat: ChatTokenizer, ids: list[int]) -> int | None:
    """Where the response begins, after the template's marker; None without a marker token.

    The marker ends with a token of its own (`</think>`, `<|message|>`) wherever the template is
    that of the model; where it is letters, the caller searches the text for it.
    """
    marker = chat.format.marker
    if not marker or chat.marker_end_id is None:
        return None
    for at, token in enumerate(ids):
        if token == chat.marker_end_id:
            written = _text(chat, ids[: at + 1], control=True)
            if written.rstrip().endswith(marker):
                return at + 1
    return None


def _thought_in(chat: ChatTokenizer, written: str) -> str:
    """The thought in the text that was written before a response, without the tokens around it."""
    written = written.lstrip()
    for opening in _openings(chat):
        written = written.removeprefix(opening)
    written = written.partition(chat.format.marker)[0] if chat.format.marker else written
    return chat.control_tokens.split(written, maxsplit=1)[0].strip()


def _openings(chat: ChatTokenizer) -> tuple[str, ...]:
    return tuple(filter(None, (chat.format.thought_open.strip(), THINK)))


def _begins_with_part_of(written: str, headers: Sequence[str]) -> bool:
    return any(
        written != header and header.startswith(written.rstrip()) for header in headers if header
    )


def _trimmed(chat: ChatTokenizer, text: str) -> str:
    """The text without the space that the template writes before and after a response."""
    template = chat.format
    before = template.lead if template.lead.isspace() else ""
    after = template.after[: len(template.after) - len(template.after.lstrip())]
    return text.removeprefix(before).removesuffix(after)


def _text(chat: ChatTokenizer, ids: list[int], *, control: bool = False) -> str:
    return str(
        chat.tokenizer.decode(
            ids, skip_special_tokens=not control, clean_up_tokenization_spaces=False
        )
    )


def _continuation(chat: ChatTokenizer, ids: list[int]) -> str:
    # Tokenizers that put a space before a text remove it again when they decode. After a letter
    # they keep it, so that a continuation stays a word of its own.
    anchor = chat.tokenizer("a", add_special_tokens=False)["input_ids"]
    return _text(chat, [*anchor, *ids])[len(_text(chat, anchor)) :]
