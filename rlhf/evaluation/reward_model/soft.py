"""Rankings of several annotators as distributions of votes."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from rlhf.evaluation.core.results import Result, result_of
from rlhf.evaluation.reward_model.scored_rankings import ScoredRanking, average
from rlhf.evaluation.stats.composite import share_of
from rlhf.evaluation.stats.soft_labels import KINDS, kind_of_votes, soft_divergence
from rlhf.evaluation.stats.win_rate import win


@dataclass(frozen=True, kw_only=True)
class SoftPair:
    """Two responses that several annotators compared."""

    prompt: str
    margin: float  # score of the first minus that of the second
    share: float  # of the votes for the first; a tie counts half


def soft_metrics(scored: Sequence[ScoredRanking], model: str, are_logits: bool) -> list[Result]:
    """How the votes on a pair are distributed, and how far the model is from them.

    - vote_distribution: shares of the pairs that are unanimous, have a majority of two thirds, or
      split.
    - soft_kl, if scores are logits: KL(votes || σ(margin)) in nats per pair.

    Empty if no pair was compared by several annotators, or on fewer than two prompts.
    """
    pairs = soft_pairs(scored)
    results = []
    for kind in KINDS:
        estimate = share_of(
            (pair.prompt, float(kind_of_votes(pair.share) == kind)) for pair in pairs
        )
        if estimate is not None:
            result = result_of(estimate, "vote_distribution", model)
            results.append(replace(result, axis=kind))
    if are_logits:
        divergences = soft_divergence(
            [_sigmoid(pair.margin) for pair in pairs], [pair.share for pair in pairs]
        )
        cases = [(pair.prompt, value) for pair, value in zip(pairs, divergences, strict=True)]
        estimate = average(cases)
        results += [result_of(estimate, "soft_kl", model)] if estimate is not None else []
    return results


def soft_pairs(scored: Sequence[ScoredRanking]) -> list[SoftPair]:
    """The pairs of different texts that two annotators or more compared.

    A row with probabilities has the shares of its pairs. Of the others, an annotator counts once
    per pair, with the first label; every unnamed row is an annotator.
    """
    votes: dict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
    margins: dict[tuple[str, str, str], float] = {}
    for number, one in enumerate(scored):
        if one.is_soft:
            continue
        name = one.ranking.annotator or f"\0{number}"
        texts, ranks = one.ranking.responses, one.ranking.ranks
        for i, j in combinations(range(len(texts)), 2):
            first, second = sorted((i, j), key=lambda place: texts[place])
            if texts[first] != texts[second]:
                pair = (one.prompt, texts[first], texts[second])
                votes[pair].setdefault(name, win(-ranks[first], -ranks[second]))
                margins[pair] = one.scores[first] - one.scores[second]
    known = [
        SoftPair(prompt=one.prompt, margin=one.scores[first] - one.scores[second], share=people)
        for one in scored
        for first, second, people in one.ranking.probabilities
    ]
    return known + [
        SoftPair(prompt=pair[0], margin=margins[pair], share=sum(each.values()) / len(each))
        for pair, each in votes.items()
        if len(each) > 1
    ]


def _sigmoid(margin: float) -> float:
    """1 / (1 + exp(-margin)), without overflow."""
    if margin >= 0:
        return 1 / (1 + math.exp(-margin))
    return math.exp(margin) / (1 + math.exp(margin))
