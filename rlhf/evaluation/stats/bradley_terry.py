"""One scale for all models: Bradley-Terry strengths with intervals."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rlhf.evaluation.stats.bootstrap import RESAMPLES, Estimate, estimate_of, resampled_counts
from rlhf.evaluation.stats.win_rate import prompt_wins

# Games added to each pair of models, half won by each: a model that loses all has no finite
# strength otherwise. One game beside one a prompt moves the others hardly. In a resample it
# weighs as much as chance has it, Exp(1) as in a Bayesian bootstrap (Rubin 1981): without, a
# model that loses every game would lose it in every resample, at one certain strength.
PSEUDO_GAMES = 1.0
_STEPS = 100
_Array = NDArray[np.float64]


def bradley_terry(
    scores: Sequence[Sequence[Sequence[float]]],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> list[Estimate]:
    """Strength of each model in nats, their mean 0: P(i beats j) = σ(s_i - s_j).

    scores: [models][prompts][answers] of one judge. At each prompt every answer of a model meets
    every answer of each other one, and the pair of models counts as one game; prompts at which a
    model has no answer are left out. Intervals resample prompts.

    Raises:
        ValueError: fewer than two models, or no prompt that all answered.
    """
    prompts = [p for p in range(len(scores[0])) if all(len(model[p]) for model in scores)]
    if len(scores) < 2 or not prompts:
        raise ValueError("a ranking needs two models and a prompt that both answered")
    wins = np.array([_wins([model[p] for model in scores]) for p in prompts])
    rng = np.random.default_rng([seed, len(scores)])
    draws = []
    for counts in resampled_counts(len(prompts), seed=seed, resamples=resamples):
        weights = _symmetric(rng.exponential(size=(len(counts), *wins.shape[1:])))
        resampled = np.einsum("bp,pij->bij", counts, wins)
        draws.append(_strengths(resampled, len(prompts), PSEUDO_GAMES * weights))
    alike = _symmetric(np.ones((1, *wins.shape[1:])))
    value = _strengths(wins.sum(0)[None], len(prompts), PSEUDO_GAMES * alike)[0]
    spread = np.concatenate(draws)
    return [estimate_of(float(value[m]), spread[:, m], n=len(prompts)) for m in range(len(scores))]


def _wins(answers: Sequence[Sequence[float]]) -> _Array:
    """[M, M] share of one prompt's meetings that the row's model wins; 0 on the diagonal."""
    found = np.zeros((len(answers), len(answers)))
    for i in range(len(answers)):
        for j in range(i):
            found[i, j] = prompt_wins(answers[i], answers[j])
            found[j, i] = 1 - found[i, j]
    return found


def _symmetric(tables: _Array) -> _Array:
    """[B, M, M] with what stands above the diagonal below it too, and 0 on it."""
    above = np.triu(tables, 1)
    found: _Array = above + above.transpose(0, 2, 1)
    return found


def _strengths(wins: _Array, games: int, pseudo: _Array) -> _Array:
    """[B, M] maximum-likelihood strengths of win tables [B, M, M] of `games` games a pair.

    Newton's method on the log-likelihood, which is concave; the sum of the strengths stays 0.

    pseudo: [B, M, M] games more of each pair, half won by each.
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
