"""One ranking per item from the rankings of several annotators.

Every method gives each pair of responses the probability that the first is better, with a 95%
interval, and each item one ranking:

- majority: the share of the annotators who decide the pair so, a tie counting half. Responses are
  ordered by the number of others that they beat in most votes (Copeland).
- mean_rank: ordered by the mean rank of each response (Borda); pairs as in `majority`.
- dawid_skene: annotators have an accuracy each, estimated together with the truth.
- reward_weighted: votes weighted by the log odds of the annotator's agreement with a reward model;
  an annotator who agrees with it in half of the pairs or fewer has no weight.

An adjudicator's decision replaces all of them.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rlhf.errors import ConfigError
from rlhf.labels.dawid_skene import Array, DawidSkene, Votes, dawid_skene
from rlhf.labels.records import LABEL, StoredLabel, competition_ranks, order_of

MAJORITY, MEAN_RANK = "majority", "mean_rank"
DAWID_SKENE, REWARD_WEIGHTED = "dawid_skene", "reward_weighted"
METHODS = (MAJORITY, MEAN_RANK, DAWID_SKENE, REWARD_WEIGHTED)
ADJUDICATED = "adjudicated"
RESAMPLES = 200  # of the pairs, for the intervals of `dawid_skene`


@dataclass(frozen=True, kw_only=True)
class PairConsensus:
    """Two responses of an item, by their numbers."""

    first: int
    second: int
    probability: float  # that the first is better
    low: float  # 95% interval
    high: float


@dataclass(frozen=True, kw_only=True)
class ItemConsensus:
    """The consensus about one item."""

    item_id: int
    ranks: Sequence[int]  # K, 1 is best, equal ranks tie
    method: str  # one of METHODS, or "adjudicated"
    annotators: int
    strength: float  # mean over the labels
    pairs: Sequence[PairConsensus]


def consensus(
    by_item: Mapping[int, Sequence[StoredLabel]],
    method: str,
    *,
    decisions: Mapping[int, StoredLabel] | None = None,
    scores: Mapping[int, Sequence[float]] | None = None,
    seed: int = 0,
) -> list[ItemConsensus]:
    """The consensus of each item, by item id.

    Args:
        by_item: item id -> its ordinary labels; the last one of each annotator counts.
        method: one of METHODS.
        decisions: item id -> the adjudicator's label, which replaces the consensus.
        scores: item id -> the reward model's score of each response, for `reward_weighted`.
        seed: for the resamples of `dawid_skene`.

    Raises:
        ConfigError: an unknown method, or `reward_weighted` without scores.
    """
    if method not in METHODS:
        raise ConfigError(
            f"consensus={method!r} is not one of {', '.join(METHODS)}.", code="bad-value"
        )
    if method == REWARD_WEIGHTED and scores is None:
        raise ConfigError(
            "consensus=reward_weighted needs a reward model; name one with --reward_model.",
            code="missing-key",
        )
    labels = {
        item: list({label.annotator: label for label in of_item if label.purpose == LABEL}.values())
        for item, of_item in sorted(by_item.items())
    }
    labels = {item: of_item for item, of_item in labels.items() if of_item}
    if method == DAWID_SKENE:
        pairs = _dawid_skene_pairs(labels, seed)
    else:
        weights = agreement_weights(labels, scores) if scores and method == REWARD_WEIGHTED else {}
        pairs = {item: _vote_pairs(of_item, weights) for item, of_item in labels.items()}
    return [
        _item(item, of_item, pairs[item], method, (decisions or {}).get(item))
        for item, of_item in labels.items()
    ]


def _item(
    item_id: int,
    labels: Sequence[StoredLabel],
    pairs: Sequence[PairConsensus],
    method: str,
    decision: StoredLabel | None,
) -> ItemConsensus:
    ranks = list(decision.ranks) if decision else _ranks(labels, pairs, method)
    return ItemConsensus(
        item_id=item_id,
        ranks=ranks,
        method=ADJUDICATED if decision else method,
        annotators=len(labels),
        strength=sum(label.strength for label in labels) / len(labels),
        pairs=pairs,
    )


def _ranks(labels: Sequence[StoredLabel], pairs: Sequence[PairConsensus], method: str) -> list[int]:
    count = len(labels[0].ranks)
    if method == MEAN_RANK:
        ranks = np.array([competition_ranks(label.ranks) for label in labels], dtype=float)
        return ranks_of_scores([-float(mean) for mean in ranks.mean(0)])
    wins = [0.0] * count
    for pair in pairs:
        won = 0.5 if math.isclose(pair.probability, 0.5) else float(pair.probability > 0.5)
        wins[pair.first] += won
        wins[pair.second] += 1 - won
    return ranks_of_scores(wins)


def ranks_of_scores(scores: Sequence[float]) -> list[int]:
    """Ranks, 1 for the highest; scores that differ by rounding alone tie."""
    return [
        1 + sum(other > score and not math.isclose(other, score) for other in scores)
        for score in scores
    ]


def _vote_pairs(labels: Sequence[StoredLabel], weights: Mapping[str, float]) -> list[PairConsensus]:
    """Weighted share of the votes for each pair; without any weight it is one half.

    The interval is Jeffreys', of as many votes as the weights are worth: (Σw)² / Σw² (Kish).
    """
    of_label = [weights.get(label.annotator, 0.0 if weights else 1.0) for label in labels]
    total = sum(of_label)
    votes = total**2 / sum(weight**2 for weight in of_label) if total else 0.0
    pairs = []
    for i, j in itertools.combinations(range(len(labels[0].ranks)), 2):
        orders = [(1 + order_of(label.ranks, i, j)) / 2 for label in labels]
        won = sum(weight * order for weight, order in zip(of_label, orders, strict=True))
        share = won / total if total else 0.5
        low, high = jeffreys(share * votes, votes)
        pairs.append(PairConsensus(first=i, second=j, probability=share, low=low, high=high))
    return pairs


def jeffreys(wins: float, games: float) -> tuple[float, float]:
    """The 95% interval of a share, Beta(wins + ½, games - wins + ½) (Brown, Cai & DasGupta 2001).

    It reaches 0 without a win and 1 without a loss.
    """
    from scipy.special import betaincinv  # half a second, which only an export needs

    losses = games - wins
    low = 0.0 if wins <= 0 else float(betaincinv(wins + 0.5, losses + 0.5, 0.025))
    high = 1.0 if losses <= 0 else float(betaincinv(wins + 0.5, losses + 0.5, 0.975))
    return low, high


def agreement_weights(
    labels: Mapping[int, Sequence[StoredLabel]], scores: Mapping[int, Sequence[float]]
) -> dict[str, float]:
    """Annotator -> max(0, log odds) of deciding a pair as the reward model does.

    One agreement and one disagreement are added, so that the odds are finite.
    """
    counts: dict[str, list[int]] = {}
    for item, of_item in labels.items():
        of_item_scores = scores[item]
        for label in of_item:
            count = counts.setdefault(label.annotator, [1, 1])
            for i, j in itertools.combinations(range(len(label.ranks)), 2):
                order = order_of(label.ranks, i, j)
                better = (of_item_scores[i] > of_item_scores[j]) - (
                    of_item_scores[i] < of_item_scores[j]
                )
                if order and better:
                    count[order != better] += 1
    return {name: max(0.0, math.log(same / other)) for name, (same, other) in counts.items()}


def _dawid_skene_pairs(
    labels: Mapping[int, Sequence[StoredLabel]], seed: int
) -> dict[int, list[PairConsensus]]:
    """Posterior of each pair; the interval is that over resamples of the items.

    A resample weights the items as a Bayesian bootstrap does (Rubin 1981), and so covers that the
    accuracies of the annotators are not known exactly.
    """
    names = sorted({label.annotator for of_item in labels.values() for label in of_item})
    number = {name: index for index, name in enumerate(names)}
    keys = [
        (item, i, j)
        for item, of_item in labels.items()
        for i, j in itertools.combinations(range(len(of_item[0].ranks)), 2)
    ]
    decided = [
        (pair, number[label.annotator], order)
        for pair, (item, i, j) in enumerate(keys)
        for label in labels[item]
        if (order := order_of(label.ranks, i, j))
    ]
    columns = np.array(decided, dtype=np.int64).reshape(-1, 3).T
    votes = Votes(pair=columns[0], annotator=columns[1], sign=columns[2].astype(np.float64))
    fitted = dawid_skene(votes, pairs=len(keys), annotators=len(names))
    draws = _resampled(votes, [item for item, _, _ in keys], len(names), seed)
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    pairs: dict[int, list[PairConsensus]] = {item: [] for item in labels}
    for index, (item, i, j) in enumerate(keys):
        probability = float(fitted.first_better[index])
        pairs[item].append(
            PairConsensus(
                first=i,
                second=j,
                probability=probability,
                low=min(float(low[index]), probability),
                high=max(float(high[index]), probability),
            )
        )
    return pairs


def _resampled(votes: Votes, item_of_pair: Sequence[int], annotators: int, seed: int) -> Array:
    """[RESAMPLES, P] posteriors with randomly weighted items."""
    rng = np.random.default_rng(seed)
    items, index = np.unique(np.array(item_of_pair), return_inverse=True)
    fits: list[DawidSkene] = [
        dawid_skene(
            votes,
            pairs=len(item_of_pair),
            annotators=annotators,
            weights=rng.exponential(size=len(items))[index],
        )
        for _ in range(RESAMPLES)
    ]
    return np.stack([fit.first_better for fit in fits])
