"""The words removed and added between two responses to one prompt."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

SAME, REMOVED, ADDED = "same", "removed", "added"
# A word with the space after it: spaces alone would match everywhere and split phrases.
_WORDS = re.compile(r"\S+\s*|^\s+")
MAX_WORDS = 400  # of each text; the matching is quadratic, so longer ones are not compared


@dataclass(frozen=True, kw_only=True)
class DiffPart:
    """Consecutive words that are the same, removed or added."""

    kind: str
    text: str


def word_diff(before: str, after: str) -> list[DiffPart]:
    """The parts of both texts in order; empty if a text is too long to compare.

    Same and added parts join to `after`; same and removed parts have the words of `before`.
    """
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    if max(len(old), len(new)) > MAX_WORDS:
        return []
    parts: list[DiffPart] = []
    bare_old, bare_new = ([word.strip() for word in side] for side in (old, new))
    matcher = difflib.SequenceMatcher(a=bare_old, b=bare_new, autojunk=False)
    for kind, i, j, k, m in matcher.get_opcodes():
        if kind == "equal":
            parts.append(DiffPart(kind=SAME, text="".join(new[k:m])))
            continue
        parts += _part(REMOVED, old[i:j]) + _part(ADDED, new[k:m])
    return parts


def _part(kind: str, words: Sequence[str]) -> list[DiffPart]:
    return [DiffPart(kind=kind, text="".join(words))] if words else []
