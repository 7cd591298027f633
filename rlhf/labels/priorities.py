"""Active sampling: which items a reward model would learn most from."""

import math
from collections.abc import Sequence

from rlhf.errors import ConfigError
from rlhf.labels.simulate import gold_points
from rlhf.labels.store import LabelStore
from rlhf.rewards.reward import load_reward


def prioritize(store: LabelStore, reward_models: Sequence[str]) -> int:
    """Set every item's priority from 0 to 1; how many items there are.

    One model: the closer its two best answers, the higher, 1 - |2 sigmoid(margin) - 1|. Several
    models: how much they differ, the mean deviation of an answer's centred scores, over the
    largest such.

    Raises:
        ConfigError: no model.
        TrainingError: a score failed.
    """
    if not reward_models:
        raise ConfigError("reward_model names no model; name one, or several that differ.")
    items = store.items()
    scores = [gold_points(items, load_reward([source])) for source in reward_models]
    if len(scores) == 1:
        priorities = [unsure(points) for points in scores[0]]
    else:
        spreads = [spread(of_item) for of_item in zip(*scores, strict=True)]
        largest = max(spreads, default=0.0) or 1.0
        priorities = [one / largest for one in spreads]
    store.set_priorities({item.id: p for item, p in zip(items, priorities, strict=True)})
    return len(items)


def unsure(points: Sequence[float]) -> float:
    """1 where the two best answers are level, towards 0 as one leads."""
    best, second = sorted(points, reverse=True)[:2]
    return 1 - math.tanh((best - second) / 2)


def spread(by_model: Sequence[Sequence[float]]) -> float:
    """Mean over answers of the deviation over models, each model's scores centred on its own."""
    centred = [[p - sum(points) / len(points) for p in points] for points in by_model]
    deviations = []
    for of_answer in zip(*centred, strict=True):
        mean = sum(of_answer) / len(of_answer)
        deviations.append(math.sqrt(sum((p - mean) ** 2 for p in of_answer) / len(of_answer)))
    return sum(deviations) / len(deviations)
