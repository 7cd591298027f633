"""Tokens of an answer -> its thought and its text, in pieces that stay as they are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rlhf.data.tokenization.chat import decode
from rlhf.data.tokenization.thoughts import END_THINK, THINK, split_thought
from rlhf.data.tokenization.tokenizer import ChatTokenizer

REPLACEMENT = "\ufffd"  # what a decoder gives for half a character


@dataclass(frozen=True, kw_only=True)
class Said:
    """What is new of an answer. The thought comes first."""

    thought: str = ""
    text: str = ""


class Detokenizer:
    """Thought and text so far. A character of several tokens is given when it is whole, and what
    may be the beginning of a stop text, or of a tag around the thought, when it has turned out not
    to be. Stop texts are looked for in the text alone.

    Once there is text the thought is over: a tag that comes later changes nothing.
    """

    def __init__(
        self, chat: ChatTokenizer, stop: Sequence[str] = (), *, begun: Sequence[int] = ()
    ) -> None:
        """begun: tokens that the answer begins with, of which no piece is given."""
        self._chat, self._stop = chat, stop
        self._raw = replace(chat, template_source="none", eos_token_ids=())
        self._ids = list(begun)
        self._plain: tuple[str, int] | None = None  # text before a late tag, first id behind it
        self.thought = self.text = ""  # given out so far
        self.length = 0  # of both, with what is held back
        self.responds = False  # whether the response itself has begun
        self.retracted = False  # whether what was given as a thought is the response after all
        self.stopped = False  # whether a stop text came; it is left out
        if begun:
            self._take(self._read())

    def add(self, token: int, *, last: bool = False) -> Said:
        """What the token adds, nothing where nothing is sure yet; `last`: no token follows."""
        if token in self._chat.eos_token_ids:
            return self._end(self._read(token))
        self._ids.append(token)
        found = self._read()
        given = self._take(found)
        if not last or self.stopped:
            return given
        rest = self._end(found)
        return Said(thought=given.thought + rest.thought, text=given.text + rest.text)

    def _take(self, found: Said) -> Said:
        """Give out what no further token changes."""
        self.length = len(found.thought) + len(found.text)
        self.responds = bool(found.text) and not self._may_open(found)
        cut = self._cut(found.text)
        if self.stopped:
            return self._give(replace(found, text=found.text[:cut]))
        if self._may_open(found):
            return Said()
        return self._give(
            Said(
                thought=found.thought
                if found.text
                else _sure(found.thought, (END_THINK,)).rstrip(),
                text=_sure(found.text, self._stop),
            )
        )

    def _end(self, found: Said) -> Said:
        """Give out what was held back: no further token comes."""
        self.responds = bool(found.text)
        self.retracted = bool(self.thought) and not found.thought
        if self.retracted:
            self.thought = ""
        return self._give(found)

    def _read(self, end: int | None = None) -> Said:
        """Thought and text of the tokens so far, and of the one that ends them."""
        if self._plain is not None:
            text, start = self._plain
            return Said(thought=self.thought, text=text + decode(self._raw, self._ids[start:]))
        whole = decode(self._chat, self._ids if end is None else [*self._ids, end])
        if self._chat.raw or not whole.lstrip().startswith(THINK):
            found = Said(text=whole)
        else:
            thought, text = split_thought(whole)
            found = Said(thought=thought, text=text)
        if self.text and found.thought != self.thought:
            self._plain = (self.text, len(self._ids))
            return Said(thought=self.thought, text=self.text)
        return found

    def _may_open(self, found: Said) -> bool:
        """Whether a text so far may turn out to be the tag before a thought."""
        begins = found.text.lstrip()
        return not (self._chat.raw or found.thought or self.text) and THINK.startswith(begins)

    def _give(self, found: Said) -> Said:
        thought = _rest(self.thought, found.thought)
        text = _rest(self.text, found.text)
        self.thought, self.text = self.thought + thought, self.text + text
        return Said(thought=thought, text=text)

    def _cut(self, text: str) -> int:
        """Where the first stop text begins."""
        found = [at for stop in self._stop if (at := text.find(stop)) >= 0]
        self.stopped = bool(found)
        return min(found, default=len(text))


def _rest(given: str, whole: str) -> str:
    """What is new of a text; nothing while it does not begin with what was given."""
    return whole[len(given) :] if whole.startswith(given) else ""


def _sure(text: str, ends: Sequence[str]) -> str:
    """A text without half a character, or half of one of `ends`, at its end."""
    if text.endswith(REPLACEMENT):
        return ""
    longest = max(map(len, ends), default=1) - 1
    for length in range(min(longest, len(text)), 0, -1):
        if any(end.startswith(text[-length:]) for end in ends):
            return text[:-length]
    return text
