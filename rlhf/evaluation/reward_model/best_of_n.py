"""What choosing the best of N by the reward model does to the reward, and to people's view.

As far as it goes, a rehearsal of PPO: the answers are those that people ranked, N of a ranking's K
at random, and the reward model picks. Its reward must rise; if people's view of the picked answer
does not, the reward is being gamed already.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rlhf.evaluation.reward_model.scored_rankings import ScoredRanking, average, share
from rlhf.evaluation.stats.win_rate import win


@dataclass(frozen=True, kw_only=True)
class BestOfN:
    """One point of the curve; means over rankings with intervals over prompts."""

    n: int
    kl_bound: float  # nats: log n - (n - 1) / n, at most this far from the sampling policy
    reward: float  # normalised, of the picked answer
    reward_low: float
    reward_high: float
    people: float  # share of the ranking's other answers that people put below it, ½ for a tie
    people_low: float
    people_high: float


def best_of_n(scored: Sequence[ScoredRanking], *, mean: float, std: float) -> list[BestOfN]:
    """The curve for N = 1 … K over the rankings of at least K answers, K as many as half of all
    rankings have; exact in the draw of N, by `pick_probabilities`. Empty of one prompt."""
    sizes = sorted(len(one.scores) for one in scored)
    if not sizes:
        return []
    most = sizes[len(sizes) // 2]
    kept = [_sorted(one) for one in scored if len(one.scores) >= most]
    curve = []
    for n in range(1, most + 1):
        rewards = average((prompt, (_pick(scores, n) - mean) / std) for prompt, scores, _ in kept)
        people = share((prompt, _pick(views, n)) for prompt, _, views in kept)
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
            )
        )
    return curve


def kl_bound(n: int) -> float:
    """log n - (n - 1)/n nats, which KL(best of n || one sample) is at most, and equals where no
    two answers score alike (Beirami et al. 2024, https://arxiv.org/abs/2401.01879)."""
    return math.log(n) - (n - 1) / n


def pick_probabilities(k: int, n: int) -> list[float]:
    """P(the i-th best of k answers is the best of n drawn without replacement), i = 0 … k-1.

    C(k-1-i, n-1) / C(k, n): the n-1 others come from the k-1-i below it.
    """
    return [math.comb(k - 1 - i, n - 1) / math.comb(k, n) for i in range(k)]


def expected_of_best(scores: Sequence[float], values: Sequence[float], n: int) -> float:
    """Mean over all draws of n of the value of the answer of the highest score in it.

    Exact, by `pick_probabilities`; of equal scores each is picked as often.
    """
    return _pick(_by_score(scores, values), n)


def _pick(values: Sequence[float], n: int) -> float:
    """Expected value of the picked answer; values in the order of the scores, best first."""
    weights = pick_probabilities(len(values), n)
    return sum(weight * value for weight, value in zip(weights, values, strict=True))


def _sorted(one: ScoredRanking) -> tuple[str, list[float], list[float]]:
    """Prompt, scores from the best down, and what people think of those answers."""
    ranks, count = one.ranking.ranks, len(one.scores)
    views = [
        sum(win(-ranks[i], -ranks[j]) for j in range(count) if j != i) / (count - 1)
        for i in range(count)
    ]
    order = sorted(one.scores, reverse=True)
    return one.prompt, order, _by_score(one.scores, views)


def _by_score(scores: Sequence[float], values: Sequence[float]) -> list[float]:
    """The values, that of the highest score first; those of equal scores averaged."""
    shared: dict[float, list[float]] = {}
    for score, value in zip(scores, values, strict=True):
        shared.setdefault(score, []).append(value)
    order = sorted(scores, reverse=True)
    return [sum(shared[score]) / len(shared[score]) for score in order]
