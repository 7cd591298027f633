"""The consensus of each item as rows for training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rlhf.labels.consensus import ItemConsensus, PairConsensus, consensus
from rlhf.labels.equal_texts import one_rank_per_text
from rlhf.labels.label_rows import origins
from rlhf.labels.records import LABEL, Item, StoredLabel
from rlhf.labels.review.history import is_decision
from rlhf.rewards.kinds import public_name

CONSENSUS = "consensus"  # annotator of rows that several people made


@dataclass(frozen=True, kw_only=True)
class ConsensusOptions:
    """How to make one ranking of the labels of an item."""

    method: str  # one of `rlhf.labels.consensus.METHODS`
    scores: Mapping[int, Sequence[float]] | None = None  # item id -> reward model's scores
    reward_model: str = ""  # where the scores are from

    def __str__(self) -> str:
        """The method, with the name of the reward model: the card is published."""
        if not self.reward_model:
            return self.method
        return f"{self.method} by {public_name(self.reward_model)}"


def consensus_of(
    labels: Sequence[StoredLabel], options: ConsensusOptions
) -> Sequence[ItemConsensus]:
    """One ranking of each item; an adjudicator's decision goes first."""
    by_item: dict[int, list[StoredLabel]] = {}
    for label in labels:
        if label.purpose == LABEL:
            by_item.setdefault(label.item_id, []).append(label)
    decisions = {label.item_id: label for label in labels if is_decision(label)}
    return consensus(by_item, options.method, decisions=decisions, scores=options.scores)


def agreed_ranking(item: Item, one: ItemConsensus) -> dict[str, object]:
    """The consensus as a ranking; the pairs keep their probabilities and intervals."""
    return {
        **item.columns,
        "prompt": item.prompt,
        "responses": list(item.responses),
        "ranks": one_rank_per_text(item.responses, one.ranks),
        "annotator": CONSENSUS,
        "strength": one.strength,
        "models": list(item.models),
        "item_id": item.id,
        "consensus": one.method,
        "annotators": one.annotators,
        "pair_probabilities": [
            [pair.first, pair.second, pair.probability, pair.low, pair.high] for pair in one.pairs
        ],
    }


def agreed_pairs(item: Item, one: ItemConsensus) -> list[dict[str, object]]:
    """The pairs that the consensus does not tie; `probability` is that of `chosen` being better."""
    ranks = one_rank_per_text(item.responses, one.ranks)
    return [
        _pair(item, one, pair, is_first=ranks[pair.first] < ranks[pair.second])
        for pair in one.pairs
        if ranks[pair.first] != ranks[pair.second]
    ]


def _pair(
    item: Item, one: ItemConsensus, pair: PairConsensus, *, is_first: bool
) -> dict[str, object]:
    better, worse = (pair.first, pair.second) if is_first else (pair.second, pair.first)
    return {
        **item.columns,
        "prompt": item.prompt,
        "chosen": item.responses[better],
        "rejected": item.responses[worse],
        "annotator": CONSENSUS,
        "strength": one.strength,
        "models": [item.models[better], item.models[worse]] if item.models else [],
        "item_id": one.item_id,
        "consensus": one.method,
        "annotators": one.annotators,
        "probability": pair.probability if is_first else 1 - pair.probability,
        "low": pair.low if is_first else 1 - pair.high,
        "high": pair.high if is_first else 1 - pair.low,
        **origins(item, {}, [better, worse]),
    }
