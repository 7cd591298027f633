"""Two answers to one prompt, with the words that went and the words that came."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

SAME, GONE, NEW = "same", "gone", "new"
# A word with the space behind it: spaces alone would match everywhere and tear phrases apart.
_WORDS = re.compile(r"\S+\s*|^\s+")
MAX_WORDS = 400  # of each side; what is longer is not compared: the matching is quadratic


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A stretch of words: same, gone or new."""

    kind: str
    text: str


def word_diff(before: str, after: str) -> list[Piece]:
    """The pieces of both in order: those that are not gone make `after`, those that are not new
    the words of `before`. Empty where a side is too long to compare.
    """
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    if max(len(old), len(new)) > MAX_WORDS:
        return []
    pieces: list[Piece] = []
    bare_old, bare_new = ([word.strip() for word in side] for side in (old, new))
    matcher = difflib.SequenceMatcher(a=bare_old, b=bare_new, autojunk=False)
    for kind, i, j, k, m in matcher.get_opcodes():
        if kind == "equal":
            pieces.append(Piece(kind=SAME, text="".join(new[k:m])))
            continue
        pieces += _pieces(GONE, old[i:j]) + _pieces(NEW, new[k:m])
    return pieces


def _pieces(kind: str, words: Sequence[str]) -> list[Piece]:
    return [Piece(kind=kind, text="".join(words))] if words else []
