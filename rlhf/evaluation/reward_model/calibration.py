"""Calibration of reward differences under Bradley-Terry: P(better) = σ(difference)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlhf.evaluation.reward_model.scored_rankings import ScoredRanking, agreement
from rlhf.evaluation.stats.bootstrap import Estimate
from rlhf.evaluation.stats.composite import share_of

BINS = 10  # of the confidence, from 0.5 to 1
RESAMPLES = 500
Table = NDArray[np.float64]
Case = tuple[str, float, float]  # prompt, confidence, share of people who agree with it


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Pairs of similar confidence."""

    confidence: float  # mean of σ(|difference|)
    accuracy: float  # share that annotators ordered in the same way
    low: float
    high: float
    pairs: int


def reliability(scored: Sequence[ScoredRanking]) -> list[Bin]:
    """The reliability curve: accuracy by confidence.

    Bins with pairs of fewer than two prompts are left out.
    """
    return reliability_of(_cases(scored), _bin)


def reliability_of(cases: Sequence[Case], bin_of: Callable[[float], int]) -> list[Bin]:
    """`reliability` of any predictions; bin_of: the bin of a confidence, below BINS."""
    bins = []
    for number in range(BINS):
        inside = [case for case in cases if bin_of(case[1]) == number]
        estimate = share_of((prompt, correct) for prompt, _, correct in inside)
        if estimate is not None:
            bins.append(
                Bin(
                    confidence=sum(confidence for _, confidence, _ in inside) / len(inside),
                    accuracy=estimate.value,
                    low=estimate.low,
                    high=estimate.high,
                    pairs=len(inside),
                )
            )
    return bins


def calibration_error(scored: Sequence[ScoredRanking], *, seed: int = 0) -> Estimate | None:
    """Expected calibration error: Σ_bins share of pairs * |accuracy - confidence|.

    (Naeini et al. 2015; ten bins of equal width.) Percentile bootstrap over prompts. It is above 0
    by chance, and more so with fewer pairs: see `error_by_chance`. None for fewer than two prompts.
    """
    return calibration_error_of(_cases(scored), _bin, seed=seed)


def calibration_error_of(
    cases: Sequence[Case], bin_of: Callable[[float], int], *, seed: int = 0
) -> Estimate | None:
    """`calibration_error` of any predictions; bin_of: the bin of a confidence, below BINS."""
    prompts = {prompt: row for row, prompt in enumerate(dict.fromkeys(p for p, _, _ in cases))}
    if len(prompts) < 2:
        return None
    # [prompts, bins, 3]: number of pairs, sum of confidence, number of correct pairs.
    sums = np.zeros((len(prompts), BINS, 3))
    for prompt, confidence, correct in cases:
        sums[prompts[prompt], bin_of(confidence)] += (1.0, confidence, correct)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(prompts), np.full(len(prompts), 1 / len(prompts)), RESAMPLES)
    draws = error_of(np.einsum("rp,pbk->rbk", counts.astype(float), sums))
    low, high = np.quantile(draws, [0.025, 0.975])
    value = float(error_of(sums.sum(0, keepdims=True))[0])
    return Estimate(value=value, low=float(low), high=float(high), n=len(prompts))


def error_by_chance(scored: Sequence[ScoredRanking], *, seed: int = 0) -> Estimate | None:
    """The calibration error of a perfectly calibrated model with these scores.

    It is the mean and the central 95% over draws of the annotators' orders from the scores. A draw
    adds Gumbel noise to a ranking's scores and sorts the responses by the sums. Each of two
    responses is then better with probability σ(difference), and the pairs of a ranking are
    dependent as in real rankings. None for fewer than two prompts, and if rows say how people
    split: how many people they are is not known.
    """
    if any(one.is_soft for one in scored):
        return None
    rng = np.random.default_rng(seed)
    sums = np.zeros((RESAMPLES, BINS, 3))
    for one in scored:
        if one.ordered:
            sums += _draw_orders(one, rng)
    prompts = {one.prompt for one in scored if one.ordered}
    if len(prompts) < 2:
        return None
    draws = error_of(sums)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(value=float(draws.mean()), low=float(low), high=float(high), n=len(prompts))


def _draw_orders(one: ScoredRanking, rng: np.random.Generator) -> Table:
    """[draws, bins, 3] of a ranking: pairs, confidence and correct pairs of drawn orders."""
    scores = np.array(one.scores)
    better, worse = np.array(one.ordered).T
    noisy = scores + rng.gumbel(size=(RESAMPLES, len(scores)))
    predicted = np.sign(scores[better] - scores[worse])
    correct = (np.sign(noisy[:, better] - noisy[:, worse]) * predicted + 1) / 2
    confidence = np.array([case[1] for case in _cases([one])])
    bins = np.eye(BINS)[[_bin(value) for value in confidence]]  # [pairs, bins]
    pairs = np.broadcast_to(bins.sum(0), (RESAMPLES, BINS))
    sums = np.broadcast_to(confidence @ bins, (RESAMPLES, BINS))
    return np.stack([pairs, sums, correct @ bins], axis=2)


def error_of(sums: Table) -> Table:
    """The error [draws] of [draws, bins, 3]: number, sum of confidence, number of correct ones."""
    gaps: Table = np.abs(sums[:, :, 2] - sums[:, :, 1]).sum(1) / sums[:, :, 0].sum(1)
    return gaps


def _cases(scored: Sequence[ScoredRanking]) -> list[Case]:
    """Each pair; equal scores are ½ correct, and people who split agree in part."""
    cases = []
    for one in scored:
        for first, second, share_of_people in one.pairs:
            scores = one.scores[first], one.scores[second]
            confidence = 1 / (1 + math.exp(-min(abs(scores[0] - scores[1]), 50.0)))
            cases.append((one.prompt, confidence, agreement(*scores, share_of_people)))
    return cases


def _bin(confidence: float) -> int:
    return min(int((confidence - 0.5) * 2 * BINS), BINS - 1)
