"""Active sampling: priorities for the items that a reward model would learn most from."""

import math
from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from rlhf.errors import ConfigError, DataError
from rlhf.labels import schema, validation
from rlhf.labels.records import Item
from rlhf.labels.simulate import gold_scores
from rlhf.labels.store import LabelStore
from rlhf.rewards.reward import load_reward


def prioritize(store: LabelStore, reward_models: Sequence[str]) -> int:
    """Set every item's priority from 0 to 1; returns the number of items.

    With one model the priority is 1 - |2 sigmoid(margin) - 1| for the margin of the two best
    responses. With several models it is their disagreement, the mean deviation of a response's
    centred scores, divided by the largest such value. Equal texts count once: every model gives
    them the same score, and ranking them teaches nothing. An item of one text has priority 0.

    Raises:
        ConfigError: no model.
        TrainingError: a score failed.
    """
    if not reward_models:
        raise ConfigError(
            "reward_model names no model; name one, or several that differ.", code="missing-key"
        )
    items = store.items()
    scores = [
        of_different_texts(items, gold_scores(items, load_reward([source])))
        for source in reward_models
    ]
    if len(scores) == 1:
        priorities = [uncertainty(of_item) for of_item in scores[0]]
    else:
        spreads = [disagreement(of_item) for of_item in zip(*scores, strict=True)]
        largest = max(spreads, default=0.0) or 1.0
        priorities = [spread / largest for spread in spreads]
    set_priorities(store, {item.id: p for item, p in zip(items, priorities, strict=True)})
    return len(items)


def set_priorities(store: LabelStore, priorities: Mapping[int, float]) -> None:
    """Set priorities by item id, 0 or more; the queue hands out the highest first.

    Raises:
        DataError: an unknown item, or a priority below 0 or not finite.
    """
    validation.check_priorities(priorities)
    with store.write() as connection:
        for item_id, priority in priorities.items():
            update = sa.update(schema.items).where(schema.items.c.id == int(item_id))
            if connection.execute(update.values(priority=float(priority))).rowcount == 0:
                raise DataError(f"item {item_id} is not in the store.", code="unknown-name")


def of_different_texts(
    items: Sequence[Item], scores: Sequence[Sequence[float]]
) -> list[list[float]]:
    """The scores of each item's first response of every text; outer spaces do not matter."""
    return [
        list(
            {
                text.strip(): score
                for text, score in zip(reversed(item.responses), reversed(of_item), strict=True)
            }.values()
        )
        for item, of_item in zip(items, scores, strict=True)
    ]


def uncertainty(scores: Sequence[float]) -> float:
    """1 if the two best responses are level, towards 0 as one leads; 0 for a single response."""
    if len(scores) < 2:
        return 0.0
    best, second = sorted(scores, reverse=True)[:2]
    return 1 - math.tanh((best - second) / 2)


def disagreement(by_model: Sequence[Sequence[float]]) -> float:
    """Mean over responses of the deviation over models, with each model's scores centred."""
    centred = [[score - sum(scores) / len(scores) for score in scores] for scores in by_model]
    deviations = []
    for of_response in zip(*centred, strict=True):
        mean = sum(of_response) / len(of_response)
        variance = sum((score - mean) ** 2 for score in of_response) / len(of_response)
        deviations.append(math.sqrt(variance))
    return sum(deviations) / len(deviations)
