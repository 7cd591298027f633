"""Tokens of a response -> its thought and its text, in pieces that later tokens do not change."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rlhf.data.tokenization.chat import decode
from rlhf.data.tokenization.thoughts import END_THINK, THINK, split_thought
from rlhf.data.tokenization.tokenizer import ChatTokenizer

REPLACEMENT = "\ufffd"  # what decoding gives for a part of a character


@dataclass(frozen=True, kw_only=True)
class TextDelta:
    """Text that a token adds to a response. The thought precedes the text."""

    thought: str = ""
    text: str = ""


class Detokenizer:
    """Thought and text of a response so far.

    A character of several tokens is emitted once it is complete. What may be the beginning of a
    stop text, or of a tag around the thought, is held back until it is known not to be one. Stop
    texts are searched for in the text only.

    The thought ends where the text begins: a tag that comes later changes nothing.
    """

    def __init__(
        self, chat: ChatTokenizer, stop: Sequence[str] = (), *, prefix_ids: Sequence[int] = ()
    ) -> None:
        """
        Args:
            chat: tokenizer and chat template of the model.
            stop: texts that end the response; they are left out of it.
            prefix_ids: tokens that the response begins with; they are not emitted.
        """
        self._chat, self._stop = chat, stop
        self._raw = replace(chat, template_source="none", eos_token_ids=())
        self._ids = list(prefix_ids)
        # Text before a late tag, and the index of the first id after that text.
        self._text_before_tag: tuple[str, int] | None = None
        self.thought = self.text = ""  # emitted so far
        self.length = 0  # of thought and text, with what is held back
        self.in_response = False  # whether the response itself has begun
        self.retracted = False  # whether what was emitted as a thought is the response after all
        self.stopped = False  # whether a stop text was found
        if prefix_ids:
            self._emit_settled(self._read())

    def add(self, token: int, *, last: bool = False) -> TextDelta:
        """The text that the token settles, which may be empty; `last`: no token follows."""
        if token in self._chat.eos_token_ids:
            return self._emit_rest(self._read(token))
        self._ids.append(token)
        decoded = self._read()
        settled = self._emit_settled(decoded)
        if not last or self.stopped:
            return settled
        rest = self._emit_rest(decoded)
        return TextDelta(thought=settled.thought + rest.thought, text=settled.text + rest.text)

    def _emit_settled(self, decoded: TextDelta) -> TextDelta:
        """Emit what no further token changes."""
        self.length = len(decoded.thought) + len(decoded.text)
        self.in_response = bool(decoded.text) and not self._may_open_thought(decoded)
        end = self._find_stop(decoded.text)
        if self.stopped:
            return self._emit(replace(decoded, text=decoded.text[:end]))
        if self._may_open_thought(decoded):
            return TextDelta()
        thought = decoded.thought
        if not decoded.text:
            thought = _without_open_end(thought, (END_THINK,)).rstrip()
        return self._emit(
            TextDelta(thought=thought, text=_without_open_end(decoded.text, self._stop))
        )

    def _emit_rest(self, decoded: TextDelta) -> TextDelta:
        """Emit what was held back: no further token comes."""
        self.in_response = bool(decoded.text)
        self.retracted = bool(self.thought) and not decoded.thought
        if self.retracted:
            self.thought = ""
        return self._emit(decoded)

    def _read(self, eos: int | None = None) -> TextDelta:
        """Thought and text of the tokens so far, and of the EOS that ends them."""
        if self._text_before_tag is not None:
            text, start = self._text_before_tag
            return TextDelta(thought=self.thought, text=text + decode(self._raw, self._ids[start:]))
        decoded = decode(self._chat, self._ids if eos is None else [*self._ids, eos])
        if self._chat.raw or not decoded.lstrip().startswith(THINK):
            split = TextDelta(text=decoded)
        else:
            thought, text = split_thought(decoded)
            split = TextDelta(thought=thought, text=text)
        if self.text and split.thought != self.thought:
            self._text_before_tag = (self.text, len(self._ids))
            return TextDelta(thought=self.thought, text=self.text)
        return split

    def _may_open_thought(self, decoded: TextDelta) -> bool:
        """Whether the text so far may turn out to be the tag before a thought."""
        start = decoded.text.lstrip()
        return not (self._chat.raw or decoded.thought or self.text) and THINK.startswith(start)

    def _emit(self, decoded: TextDelta) -> TextDelta:
        thought = _new_part(self.thought, decoded.thought)
        text = _new_part(self.text, decoded.text)
        self.thought, self.text = self.thought + thought, self.text + text
        return TextDelta(thought=thought, text=text)

    def _find_stop(self, text: str) -> int:
        """Index at which the first stop text begins; the length of the text if there is none."""
        starts = [index for stop in self._stop if (index := text.find(stop)) >= 0]
        self.stopped = bool(starts)
        return min(starts, default=len(text))


def _new_part(emitted: str, text: str) -> str:
    """The new part of a text; empty while the text does not begin with what was emitted."""
    return text[len(emitted) :] if text.startswith(emitted) else ""


def _without_open_end(text: str, ends: Sequence[str]) -> str:
    """The text without an incomplete character, or the beginning of one of `ends`, at its end."""
    if text.endswith(REPLACEMENT):
        return ""
    longest = max(map(len, ends), default=1) - 1
    for length in range(min(longest, len(text)), 0, -1):
        if any(end.startswith(text[-length:]) for end in ends):
            return text[:-length]
    return text
