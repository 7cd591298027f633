"""Win rate at equal length of the responses, from the comparisons of one model alone.

It answers how often the model wins if this judge's own taste for length, as these comparisons show
it, is taken out. `length_control` answers what AlpacaEval 2 would print: there the taste is drawn
towards that of its judge.
"""

import numpy as np

from rlhf.evaluation.stats.bootstrap import RESAMPLES, Estimate, estimate_of, rate, resampled_counts
from rlhf.evaluation.stats.length_regression import (
    Comparisons,
    Groups,
    LengthRegression,
    compared,
    design,
    has_no_fit,
    sigmoid,
)

# On the length coefficient only: if the longer response always wins, it has no finite maximum.
RIDGE = 1.0


def equal_length_win_rate(
    wins: Groups,
    differences: Groups,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Estimate:
    """σ(θ) of the logistic regression P(win) = σ(θ + φ tanh(Δ/s)): the win rate at Δ = 0.

    Δ is the length of the response minus that of the baseline's response, s its root mean square.
    After Dubois et al. 2024 (https://arxiv.org/abs/2404.04475), without their regularisation and
    without their term for the difficulty of a prompt: here the bootstrap keeps the comparisons of
    a prompt together.

    Intervals: each resample of prompts takes one Newton step from the fit to all prompts, which is
    exact to first order and needs only the prompts' gradients and Hessians. If all comparisons are
    won, or none, or there is one prompt, the win rate is that of `rate`, with its interval.

    Args:
        wins: per prompt, 1, ½ or 0 for each comparison.
        differences: Δ of each comparison, in any unit.
        seed: for the resamples.
        resamples: their number.

    Raises:
        ValueError: there is nothing to compare, the shapes differ, a win is outside [0, 1], or a
            difference is not finite.
    """
    used, y, d = compared(wins, differences)
    if has_no_fit(y, len(used)):
        return rate(wins, seed=seed, resamples=resamples)
    rows = Comparisons(
        x=design(d, None, spread=float(np.sqrt((d**2).mean()))),
        wins=y,
        weights=np.ones_like(y),
        prompt=np.repeat(np.arange(len(used)), [len(wins[p]) for p in used]),
    )
    fit = LengthRegression.of(rows, ridge=RIDGE)
    draws = [
        sigmoid(fit.step(counts)[:, 0])
        for counts in resampled_counts(fit.num_prompts, seed=seed, resamples=resamples)
    ]
    return estimate_of(
        float(sigmoid(fit.beta[0])),
        np.concatenate(draws),
        n=fit.num_prompts,
        num_answers=len(y),
    )
