"""The text of a response, from the ids that a model wrote. Its thought is told apart."""

from bisect import bisect_left
from collections.abc import Sequence

from rlhf.data.tokenization.thoughts import END_THINK, THINK, split_thought, with_thought
from rlhf.data.tokenization.tokenizer import ChatTokenizer


def decode(chat: ChatTokenizer, ids: Sequence[int]) -> str:
    """The text of a response: up to its first EOS, control tokens left out, its thought first.

    `sequence_ids` of the text gives the ids back. A continuation of a raw prompt keeps its leading
    space; a response in chat begins a text of its own.
    """
    end = next((at for at, token in enumerate(ids) if token in chat.eos_token_ids), len(ids))
    if chat.raw:
        return _continuation(chat, list(ids[:end]))
    return _response(chat, list(ids[:end]), finished=end < len(ids))


def thought_length(chat: ChatTokenizer, ids: Sequence[int]) -> int:
    """Tokens of a response that are its thought, with the tokens around it; 0 without one.

    A thought that was cut off counts whole.
    """
    text = decode(chat, ids)
    if not split_thought(text)[0]:
        return 0
    begins = None if chat.raw else _after_marker(chat, list(ids))
    if begins is None and END_THINK in text:  # letters of a template that has no thoughts
        begins = bisect_left(
            range(len(ids) + 1), True, key=lambda at: END_THINK in _text(chat, list(ids[:at]))
        )
    return len(ids) if begins is None else begins


def _response(chat: ChatTokenizer, ids: list[int], *, finished: bool) -> str:
    form = chat.format
    begins = _after_marker(chat, ids)
    if begins is not None:
        thought = _thought(chat, ids[:begins])
        return with_thought(thought, _trimmed(chat, _text(chat, ids[begins:]).lstrip("\n")))
    if not form.renders_thoughts:
        text = _text(chat, ids)
        # The template leaves thoughts to the text, and its prompt may have opened one. What ended
        # without closing it is a response that has none.
        thinks = END_THINK in text or not finished
        opened = form.prompt_opens_thought and thinks and text.strip()
        return f"{THINK}\n{text}" if opened else _trimmed(chat, text)
    written = _text(chat, ids, control=True).lstrip()
    if form.marker and chat.marker_end_id is None and form.marker in written:
        # Tags that the vocabulary has as letters.
        before, _, rest = written.partition(form.marker)
        rest = chat.control_tokens.sub("", rest).lstrip("\n")
        return with_thought(_told(chat, before), _trimmed(chat, rest))
    # A header that is not finished yet; a finished `<` is a response.
    unfinished = not finished or chat.control_tokens.search(written)
    if unfinished and _begins_with_part_of(written, (form.thought_open.strip(), form.lead.strip())):
        return ""
    if form.prompt_opens_thought or written.startswith(_openings(chat)):
        thought = _told(chat, written)
        return f"{THINK}\n{thought}" if thought else ""
    return _trimmed(chat, _text(chat, ids))


def _after_marker(chat: ChatTokenizer, ids: list[int]) -> int | None:
    """Where the response begins, behind the template's marker; None where there is none.

    The marker ends with a token of its own (`</think>`, `<|message|>`) wherever the template is
    that of the model; where it is letters it is looked for in the text.
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


def _thought(chat: ChatTokenizer, ids: list[int]) -> str:
    """The thought in what was written before a response, without the tokens around it."""
    return _told(chat, _text(chat, ids, control=True))


def _told(chat: ChatTokenizer, written: str) -> str:
    """The thought in the text that was written before a response."""
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
    """Without the space that the template itself writes before and after a response."""
    form = chat.format
    before = form.lead if form.lead.isspace() else ""
    after = form.after[: len(form.after) - len(form.after.lstrip())]
    return text.removeprefix(before).removesuffix(after)


def _text(chat: ChatTokenizer, ids: list[int], *, control: bool = False) -> str:
    return str(
        chat.tokenizer.decode(
            ids, skip_special_tokens=not control, clean_up_tokenization_spaces=False
        )
    )


def _continuation(chat: ChatTokenizer, ids: list[int]) -> str:
    # Decoders of tokenizers that put a space before a text take it off again: with a letter
    # before them they keep it, and a continuation stays a word of its own.
    anchor = chat.tokenizer("a", add_special_tokens=False)["input_ids"]
    return _text(chat, [*anchor, *ids])[len(_text(chat, anchor)) :]
