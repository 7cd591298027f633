"""Closed-book facts: true in this world, and not stated in any prompt."""

import zlib
from random import Random

from .item import Item, pick
from .words import FOODS, OBJECTS, PLACES

# animal: (where it lives, what it eats)
ANIMAL_FACTS = {
    "dog": ("yard", "rice"),
    "cat": ("kitchen", "fish"),
    "fox": ("forest", "plums"),
    "horse": ("park", "corn"),
    "cow": ("barn", "beans"),
    "hen": ("garden", "corn"),
    "duck": ("river", "bread"),
    "goat": ("tower", "pears"),
    "mouse": ("cellar", "cheese"),
    "bear": ("forest", "honey"),
    "wolf": ("hall", "soup"),
    "frog": ("river", "milk"),
    "rabbit": ("garden", "beans"),
    "pig": ("barn", "pears"),
    "lion": ("park", "cake"),
    "sheep": ("yard", "bread"),
}
MATERIALS = "wood metal glass paper cloth stone".split()
MADE_OF_IN_ORDER = (
    "metal cloth paper glass glass cloth cloth cloth wood metal wood wood metal wood wood "
    "metal paper paper metal cloth metal stone cloth cloth wood paper wood glass wood glass"
).split()
MADE_OF = dict(zip(OBJECTS, MADE_OF_IN_ORDER, strict=True))


def all_facts() -> list[tuple[str, str, str]]:
    """All facts as (subject, relation, value); about sixty."""
    rows = [(animal, "lives", place) for animal, (place, _) in ANIMAL_FACTS.items()]
    rows += [(animal, "eats", food) for animal, (_, food) in ANIMAL_FACTS.items()]
    return rows + [(thing, "made", material) for thing, material in MADE_OF.items()]


FACTS = all_facts()
VALUES = {"lives": PLACES, "eats": FOODS, "made": MATERIALS}
QUESTION_TEMPLATES = {
    "lives": ("Where does a {} live?", "Tell me where a {} lives."),
    "eats": ("What does a {} eat?", "Tell me what a {} eats."),
    "made": ("What is a {} made of?", "Tell me what a {} is made of."),
}
FACT_TEMPLATES = {
    "lives": "A {} lives in the {}.",
    "eats": "A {} eats {}.",
    "made": "A {} is made of {}.",
}


def held_out_fact(subject: str, relation: str) -> bool:
    """Whether only held-out prompts ask for the fact; true for half of the few facts."""
    return zlib.crc32(f"{subject} {relation}".encode()) % 2 == 0


def fact_item(rng: Random) -> Item:
    """A question about one fact of the world."""
    subject, relation, value = rng.choice(FACTS)
    template = FACT_TEMPLATES[relation]
    wrong = pick(rng, VALUES[relation], but=(value,))
    short = f"In the {value}." if relation == "lives" else f"{value.capitalize()}."
    return Item(
        category="fact",
        combination=f"{subject}+{relation}",
        held_out=held_out_fact(subject, relation),
        prompt=rng.choice(QUESTION_TEMPLATES[relation]).format(subject),
        right=template.format(subject, value),
        wrong=template.format(subject, wrong),
        short=short,
        fault="wrong",
    )
