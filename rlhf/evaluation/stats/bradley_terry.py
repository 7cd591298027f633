"""Bradley-Terry strengths of models, with intervals."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rlhf.evaluation.stats.bootstrap import RESAMPLES, Estimate, estimate_of, resampled_counts
from rlhf.evaluation.stats.win_rate import prompt_wins

# Games added to each pair of models, half won by each: without them a model that loses every game
# has no finite strength. One game in addition to one per prompt changes the other strengths very
# little. In a resample its weight is random, Exp(1) as in a Bayesian bootstrap (Rubin 1981): else a
# model that loses every game would have the same strength in every resample.
PSEUDO_GAMES = 1.0
_STEPS = 100
_Array = NDArray[np.float64]


def bradley_terry(
    scores: Sequence[Sequence[Sequence[float]]],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> list[Estimate]:
    """Strength of each model in nats, with mean 0: P(i beats j) = σ(s_i - s_j).

    At each prompt every response of a model is compared with every response of each other model,
    and each pair of models counts as one game. Prompts at which a model has no response are left
    out. Intervals resample prompts.

    Args:
        scores: [models][prompts][responses] of one judge.
        seed: for the resamples.
        resamples: their number.

    Raises:
        ValueError: there are fewer than two models, or no prompt with responses of all models.
    """
    prompts = [p for p in range(len(scores[0])) if all(len(model[p]) for model in scores)]
    if len(scores) < 2 or not prompts:
        raise ValueError("Bradley-Terry needs two models and a prompt with responses of all models")
    wins = np.array([_wins([model[p] for model in scores]) for p in prompts])
    rng = np.random.default_rng([seed, len(scores)])
    draws = []
    for counts in resampled_counts(len(prompts), seed=seed, resamples=resamples):
        weights = _symmetric(rng.exponential(size=(len(counts), *wins.shape[1:])))
        resampled = np.einsum("bp,pij->bij", counts, wins)
        draws.append(_strengths(resampled, len(prompts), PSEUDO_GAMES * weights))
    ones = _symmetric(np.ones((1, *wins.shape[1:])))
    values = _strengths(wins.sum(0)[None], len(prompts), PSEUDO_GAMES * ones)[0]
    resampled_values = np.concatenate(draws)
    return [
        estimate_of(float(values[m]), resampled_values[:, m], n=len(prompts))
        for m in range(len(scores))
    ]


def _wins(scores: Sequence[Sequence[float]]) -> _Array:
    """[M, M] share of one prompt's comparisons that the row's model wins; 0 on the diagonal."""
    wins = np.zeros((len(scores), len(scores)))
    for i in range(len(scores)):
        for j in range(i):
            wins[i, j] = prompt_wins(scores[i], scores[j])
            wins[j, i] = 1 - wins[i, j]
    return wins


def _symmetric(tables: _Array) -> _Array:
    """[B, M, M] with the upper triangle mirrored, and 0 on the diagonal."""
    upper = np.triu(tables, 1)
    symmetric: _Array = upper + upper.transpose(0, 2, 1)
    return symmetric


def _strengths(wins: _Array, games: int, pseudo: _Array) -> _Array:
    """[B, M] maximum-likelihood strengths of win tables [B, M, M] with `games` games per pair.

    Newton's method on the log-likelihood, which is concave; the sum of the strengths stays 0.

    pseudo: [B, M, M] additional games of each pair, half won by each.
    """
    models = wins.shape[1]
    won = (wins + pseudo / 2).sum(2)
    total = games * (1 - np.eye(models)) + pseudo
    strengths = np.zeros(wins.shape[:2])
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(strengths[:, None, :] - strengths[:, :, None]))
        gradient = won - (total * p).sum(2)
        curvature = total * p * (1 - p)
        hessian = np.eye(models) * curvature.sum(2)[:, None, :] - curvature
        # The all-ones direction is free; a constant there makes the matrix regular.
        step = np.linalg.solve(hessian + 1.0, gradient[:, :, None])[:, :, 0]
        strengths += np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-8:
            break
    centred: _Array = strengths - strengths.mean(1, keepdims=True)
    return centred
