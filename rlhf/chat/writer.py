"""Tokens of an answer -> its text, in pieces that stay as they are."""

from collections.abc import Sequence

from rlhf.data.chat import decode
from rlhf.data.tokenizer import ChatTokenizer

REPLACEMENT = "\ufffd"  # what a decoder gives for half a character


class Writer:
    """The text so far. A character of several tokens is given when it is whole, and what may be
    the beginning of a stop text when it has turned out not to be."""

    def __init__(self, chat: ChatTokenizer, stop: Sequence[str] = ()) -> None:
        self._chat, self._stop = chat, stop
        self._ids: list[int] = []
        self.text = ""  # given out so far
        self.length = 0  # of the text with what is held back
        self.stopped = False  # whether a stop text came; it is left out

    def add(self, token: int) -> str:
        """What the token adds to the text, "" where nothing is sure yet."""
        if token in self._chat.eos_token_ids:
            return self.finish()
        self._ids.append(token)
        whole = decode(self._chat, self._ids)
        self.length = len(whole)
        cut = self._cut(whole)
        if self.stopped:
            return self._give(whole[:cut])
        if whole.endswith(REPLACEMENT) or not whole.startswith(self.text):
            return ""
        return self._give(whole[: len(whole) - self._held_back(whole)])

    def finish(self) -> str:
        """What was held back, when no further token comes."""
        if self.stopped:
            return ""
        whole = decode(self._chat, self._ids)
        return self._give(whole) if whole.startswith(self.text) else ""

    def _give(self, text: str) -> str:
        piece, self.text = text[len(self.text) :], max(self.text, text, key=len)
        return piece

    def _cut(self, text: str) -> int:
        """Where the first stop text begins."""
        found = [at for stop in self._stop if (at := text.find(stop)) >= 0]
        self.stopped = bool(found)
        return min(found, default=len(text))

    def _held_back(self, text: str) -> int:
        """Length of the longest end of the text with which a stop text begins."""
        longest = max(map(len, self._stop), default=1) - 1
        for length in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stop):
                return length
        return 0
