"""Win rate at equal length of the responses, from the comparisons of one model alone.

It answers how often the model wins if this judge's own taste for length, as these comparisons show
it, is taken out. `length_control` answers what AlpacaEval 2 would print: there the taste is drawn
towards that of its judge.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rlhf.evaluation.stats.bootstrap import RESAMPLES, Estimate, estimate_of, resampled_counts

# On the length coefficient only: if the longer response always wins, it has no finite maximum.
RIDGE = 1.0
_STEPS = 50
_Array = NDArray[np.float64]


def equal_length_win_rate(
    wins: Sequence[Sequence[float]],
    differences: Sequence[Sequence[float]],
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
    exact to first order and needs only the prompts' gradients and Hessians.

    Args:
        wins: per prompt, 1, ½ or 0 for each comparison.
        differences: Δ of each comparison, in any unit.
        seed: for the resamples.
        resamples: their number.

    Raises:
        ValueError: there is nothing to compare, or the shapes differ.
    """
    y, d, prompt = _flat(wins, differences)
    scale = np.sqrt((d**2).mean())
    x = np.stack([np.ones_like(d), np.tanh(d / scale) if scale > 0 else d], axis=1)
    beta = _fit(x, y)
    gradients, hessians = _by_prompt(x, y, beta, prompt)
    draws = []
    ridge = np.array([0.0, RIDGE])
    for counts in resampled_counts(len(gradients), seed=seed, resamples=resamples):
        gradient = counts @ gradients - ridge * beta
        hessian = np.einsum("bp,pij->bij", counts, hessians) + np.diag(ridge + 1e-9)
        draws.append(beta[0] + np.linalg.solve(hessian, gradient[:, :, None])[:, 0, 0])
    return estimate_of(
        float(sigmoid(beta[0])),
        sigmoid(np.concatenate(draws)),
        n=len(gradients),
        num_answers=len(y),
    )


def _flat(
    wins: Sequence[Sequence[float]], differences: Sequence[Sequence[float]]
) -> tuple[_Array, _Array, NDArray[np.int64]]:
    """All comparisons, and the prompt of each, numbered without gaps."""
    pairs = [(w, d) for w, d in zip(wins, differences, strict=True) if len(w)]
    if not pairs:
        raise ValueError("nothing to compare: no prompt has a comparison")
    y = np.concatenate([np.asarray(w, dtype=np.float64) for w, _ in pairs])
    d = np.concatenate([np.asarray(d, dtype=np.float64) for _, d in pairs])
    if y.shape != d.shape:
        raise ValueError(f"{len(y)} wins and {len(d)} differences")
    return y, d, np.repeat(np.arange(len(pairs)), [len(w) for w, _ in pairs])


def _fit(x: _Array, y: _Array) -> _Array:
    """[2] maximum of the log-likelihood with the ridge, by Newton's method."""
    beta, ridge = np.zeros(2), np.array([0.0, RIDGE])
    for _ in range(_STEPS):
        p = sigmoid(x @ beta)
        gradient = x.T @ (y - p) - ridge * beta
        hessian = (x * (p * (1 - p))[:, None]).T @ x + np.diag(ridge + 1e-9)
        # A model that always wins has θ = ∞: stop when σ(θ) is 1 to six digits.
        step = np.linalg.solve(hessian, gradient)
        beta = np.clip(beta + np.clip(step, -2.0, 2.0), -14.0, 14.0)
        if np.abs(step).max() < 1e-8:
            break
    return beta


def _by_prompt(
    x: _Array, y: _Array, beta: _Array, prompt: NDArray[np.int64]
) -> tuple[_Array, _Array]:
    """Gradients [P, 2] and Hessians [P, 2, 2] of each prompt's log-likelihood."""
    p = sigmoid(x @ beta)
    gradients, hessians = np.zeros((prompt[-1] + 1, 2)), np.zeros((prompt[-1] + 1, 2, 2))
    np.add.at(gradients, prompt, x * (y - p)[:, None])
    np.add.at(hessians, prompt, (p * (1 - p))[:, None, None] * x[:, :, None] * x[:, None, :])
    return gradients, hessians


def sigmoid(x: _Array) -> _Array:
    """1 / (1 + exp(-x)), without overflow."""
    value: _Array = 1 / (1 + np.exp(-np.clip(x, -30.0, 30.0)))
    return value
