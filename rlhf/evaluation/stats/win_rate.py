"""Win rates: how often the response of one model is judged better than that of another."""

from collections.abc import Sequence

import numpy as np

from rlhf.evaluation.stats.bootstrap import RESAMPLES, Estimate, rate


def win(score: float, other: float) -> float:
    """1 if the score is higher, ½ for a tie, else 0."""
    return (score > other) + 0.5 * (score == other)


def prompt_wins(scores: Sequence[float], baseline: Sequence[float]) -> float:
    """Share of the pairs (response, baseline response) of one prompt that the response wins.

    Every response is compared with every baseline response, a tie counts one half: the Mann-Whitney
    estimate of P(win) + P(tie)/2, which is unbiased and has a lower variance than disjoint pairs.
    """
    rows = np.asarray(scores, dtype=np.float64)[:, None]
    columns = np.asarray(baseline, dtype=np.float64)[None, :]
    return float(((rows > columns) + 0.5 * (rows == columns)).mean())


def win_rate(
    scores: Sequence[Sequence[float]],
    baseline: Sequence[Sequence[float]],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Estimate:
    """mean(win + tie/2) over prompts, with the bootstrap over prompts.

    scores, baseline: the judge's scores, [prompts][responses]; prompts where either has no response
        are left out.

    Raises:
        ValueError: the numbers of prompts differ, or there is no prompt.
    """
    if len(scores) != len(baseline):
        raise ValueError(f"scores have {len(scores)} prompts and baseline has {len(baseline)}")
    pairs = [(a, b) for a, b in zip(scores, baseline, strict=True) if len(a) and len(b)]
    wins = [[prompt_wins(a, b)] for a, b in pairs]
    return rate(wins, seed=seed, resamples=resamples)
