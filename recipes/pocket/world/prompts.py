"""The prompt files: prompts for ranking, for PPO, and held-out prompts for evaluation."""

from collections.abc import Callable
from random import Random

from .facts import fact_item
from .harmful_requests import benign_item, decline_item
from .item import Item
from .requests import (
    arithmetic_item,
    feelings_item,
    name_item,
    small_talk_item,
    story_item,
    two_sentences_item,
)
from .scenes import grounded_item, one_word_item, unknown_item
from .words import reserved

Maker = Callable[[Random], Item]


def format_item(rng: Random) -> Item:
    """A list, a number of sentences, or one word."""
    return rng.choice((name_item, two_sentences_item, one_word_item))(rng)


MAKERS: dict[str, Maker] = {
    "grounded": grounded_item,
    "unknown": unknown_item,
    "format": format_item,
    "arithmetic": arithmetic_item,
    "small_talk": small_talk_item,
    "feelings": feelings_item,
    "story": story_item,
    "decline": decline_item,
    "benign": benign_item,
    "fact": fact_item,
}
# Percentage of each category. There are few facts, because preferences cannot teach them.
TRAIN_MIX = {
    "grounded": 26,
    "unknown": 13,
    "format": 15,
    "arithmetic": 2,
    "small_talk": 7,
    "feelings": 8,
    "story": 6,
    "decline": 10,
    "benign": 12,
    "fact": 1,
}
# The same for the ranking prompts. They outnumber the distinct prompts of small talk and feelings.
RANKING_MIX = TRAIN_MIX | {
    "grounded": 27,
    "unknown": 15,
    "small_talk": 5,
    "feelings": 6,
    "benign": 13,
}
HELD_OUT_COUNTS = {
    "grounded": 96,
    "unknown": 48,
    "format": 54,
    "arithmetic": 16,
    "small_talk": 24,
    "feelings": 28,
    "story": 24,
    "decline": 40,
    "benign": 34,
    "fact": 44,
}


def fits_split(item: Item, held_out: bool) -> bool:
    """Whether the item belongs to this split.

    In training splits no statement of the scene may be a reserved combination. In the held-out
    split the question has to be about one.
    """
    if item.held_out != held_out:
        return False
    return held_out or not any(reserved(pair) for pair in item.pairs)


def draw(rng: Random, category: str, *, held_out: bool) -> Item:
    """A random item of the category for training, or for the held-out split."""
    while not fits_split(item := MAKERS[category](rng), held_out):
        pass
    return item


def counts(total: int, mix: dict[str, int]) -> dict[str, int]:
    """The mix scaled to `total` prompts; the remainder of rounding goes to grounded."""
    scaled = {category: total * share // 100 for category, share in mix.items()}
    scaled["grounded"] += total - sum(scaled.values())
    return scaled


def draw_items(seed: str, category_counts: dict[str, int], *, held_out: bool) -> list[Item]:
    """The wanted number of items of each category, in random order, without repeated prompts."""
    rng = Random(seed)
    items: dict[str, Item] = {}
    for category, count in category_counts.items():
        before = len(items)
        while len(items) < before + count:
            item = draw(rng, category, held_out=held_out)
            items.setdefault(item.prompt, item)
    return rng.sample(list(items.values()), len(items))


def prompt_rows(items: list[Item]) -> list[dict[str, str]]:
    """Rows of {"prompt", "category", "combination"}."""
    return [
        {"prompt": i.prompt, "category": i.category, "combination": i.combination} for i in items
    ]
