"""Demonstrations of crowd quality: most are right, many could be better, and some are bad.

data/pocket/README.md states this as well. SFT learns to imitate the mixture, so the mixture
determines how much preferences can still improve.
"""

from random import Random

from .item import Item
from .personas import SHAPES, Style, render_response
from .prompts import TRAIN_MIX, counts, draw_items

RIGHT = {
    "grounded": 0.80,
    "unknown": 0.55,
    "format": 0.65,
    "arithmetic": 0.85,
    "small_talk": 0.75,
    "feelings": 0.70,
    "story": 0.75,
    "decline": 0.55,
    "benign": 0.65,
    "fact": 1.0,
}
MANNER_SHARES = {"plain": 0.56, "polite": 0.26, "rude": 0.18}
SHAPE_SHARES = {"whole": 0.72, "short": 0.05, "rambling": 0.12, "repeated": 0.04, "cut": 0.07}


def demonstrate(rng: Random, item: Item) -> dict[str, str]:
    """One demonstration: {"prompt", "completion", "category"}."""
    style = Style(
        right=rng.random() < RIGHT[item.category],
        manner=rng.choices(list(MANNER_SHARES), list(MANNER_SHARES.values()))[0],
        shape=rng.choices(SHAPES, [SHAPE_SHARES[shape] for shape in SHAPES])[0],
    )
    response = render_response(rng, item, style)
    return {"prompt": item.prompt, "completion": response, "category": item.category}


def demonstration_rows(seed: int, total: int) -> list[dict[str, str]]:
    """`total` demonstrations, none of which has a reserved combination."""
    items = draw_items(f"{seed} demonstrations", counts(total, TRAIN_MIX), held_out=False)
    rng = Random(f"{seed} answers")
    return [demonstrate(rng, item) for item in items]
