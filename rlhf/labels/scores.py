"""Scores of the responses in a label store."""

from collections.abc import Sequence

from rlhf.labels.store import LabelStore


def scores_by_item(store: LabelStore, source: str) -> dict[int, Sequence[float]]:
    """Item id -> the score of each response by a reward model or a file.py:function."""
    from rlhf.labels.simulate import gold_scores
    from rlhf.rewards.reward import load_reward

    items = store.items()
    by_item = gold_scores(items, load_reward([source]))
    return {item.id: of_item for item, of_item in zip(items, by_item, strict=True)}
