"""Best of N by the reward model: how its reward and the annotators' preference change with N.

The curve simulates PPO on ranked responses: N of a ranking's K responses are drawn at random and
the reward model selects one. Its reward rises with N. If the annotators' preference for the
selected response does not, the policy would exploit the reward.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rlhf.evaluation.reward_model.scored_rankings import ScoredRanking, average
from rlhf.evaluation.stats.composite import share_of
from rlhf.evaluation.stats.win_rate import win


@dataclass(frozen=True, kw_only=True)
class BestOfN:
    """One point of the curve; means over rankings with intervals over prompts."""

    n: int
    kl_bound: float  # nats: log n - (n - 1) / n, at most this far from the sampling policy
    reward: float  # normalised, of the selected response
    reward_low: float
    reward_high: float
    people: float  # share of the other responses that annotators ranked below it, ½ for a tie
    people_low: float
    people_high: float
    reward_mde: float | None = None  # minimal detectable effects; None for exact values
    people_mde: float | None = None


def best_of_n(scored: Sequence[ScoredRanking], *, mean: float, std: float) -> list[BestOfN]:
    """The curve for N = 1 … K over the rankings of at least K responses.

    K is the median number of responses. The expectation over the draw of N is exact, see
    `pick_probabilities`. Empty for fewer than two prompts.
    """
    sizes = sorted(len(one.scores) for one in scored)
    if not sizes:
        return []
    most = sizes[len(sizes) // 2]
    rankings = [_sorted(one) for one in scored if len(one.scores) >= most]
    curve = []
    for n in range(1, most + 1):
        rewards = average(
            (prompt, (_pick(scores, n) - mean) / std) for prompt, scores, _ in rankings
        )
        people = share_of((prompt, _pick(shares, n)) for prompt, _, shares in rankings)
        if rewards is None or people is None:
            return []
        curve.append(
            BestOfN(
                n=n,
                kl_bound=kl_bound(n),
                reward=rewards.value,
                reward_low=rewards.low,
                reward_high=rewards.high,
                people=people.value,
                people_low=people.low,
                people_high=people.high,
                reward_mde=rewards.mde,
                people_mde=people.mde,
            )
        )
    return curve


def kl_bound(n: int) -> float:
    """log n - (n - 1)/n nats, an upper bound of KL(best of n || one sample).

    They are equal if no two responses have the same score (Beirami et al. 2024,
    https://arxiv.org/abs/2401.01879).
    """
    return math.log(n) - (n - 1) / n


def pick_probabilities(k: int, n: int) -> list[float]:
    """P(the i-th best of k responses is the best of n drawn without replacement), i = 0 … k-1.

    C(k-1-i, n-1) / C(k, n): the n-1 others come from the k-1-i below it.
    """
    return [math.comb(k - 1 - i, n - 1) / math.comb(k, n) for i in range(k)]


def expected_of_best(scores: Sequence[float], values: Sequence[float], n: int) -> float:
    """Mean over all draws of n of the value of the response with the highest score in the draw.

    Exact, see `pick_probabilities`; responses with equal scores are selected equally often.
    """
    return _pick(_by_score(scores, values), n)


def _pick(values: Sequence[float], n: int) -> float:
    """Expected value of the selected response; values in the order of the scores, best first."""
    weights = pick_probabilities(len(values), n)
    return sum(weight * value for weight, value in zip(weights, values, strict=True))


def _sorted(one: ScoredRanking) -> tuple[str, list[float], list[float]]:
    """Prompt, scores in descending order, and the annotators' preference for those responses."""
    ranks, count = one.ranking.ranks, len(one.scores)
    wins = [[win(-ranks[i], -ranks[j]) for j in range(count)] for i in range(count)]
    for i, j, share_of_people in one.ranking.probabilities:
        wins[i][j], wins[j][i] = share_of_people, 1 - share_of_people
    shares = [(sum(wins[i]) - wins[i][i]) / (count - 1) for i in range(count)]
    order = sorted(one.scores, reverse=True)
    return one.prompt, order, _by_score(one.scores, shares)


def _by_score(scores: Sequence[float], values: Sequence[float]) -> list[float]:
    """The values in descending order of the scores; values of equal scores are averaged."""
    by_score: dict[float, list[float]] = {}
    for score, value in zip(scores, values, strict=True):
        by_score.setdefault(score, []).append(value)
    order = sorted(scores, reverse=True)
    return [sum(by_score[score]) / len(by_score[score]) for score in order]
