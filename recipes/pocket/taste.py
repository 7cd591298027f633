"""A second taste: the points of gold.py, less for each word. The rounds experiment drifts to it."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Also loaded by path as `recipes/pocket/taste.py:shorter`, when the repository is not in sys.path.
_ROOT = str(Path(__file__).resolve().parents[2])
if _ROOT not in sys.path:
    sys.path.append(_ROOT)

from recipes.pocket.gold import plain, score  # noqa: E402

POINTS_PER_WORD = 0.4


def shorter(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
    """The points of each response, minus 0.4 for each of its words."""
    points = score(prompts, completions)
    words = [len(plain(text).split()) for text in completions]
    return [p - POINTS_PER_WORD * count for p, count in zip(points, words, strict=True)]
