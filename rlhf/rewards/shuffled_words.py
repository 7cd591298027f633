"""A text that means nothing and has the same words: what a reward model should score lower."""

import random


def shuffled(text: str, seed: int) -> str:
    """The text's words in another order, which follows from seed and text alone."""
    words = text.split()
    random.Random(f"{seed} {text}").shuffle(words)
    return " ".join(words)
