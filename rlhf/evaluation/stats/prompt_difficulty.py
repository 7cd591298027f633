"""How difficult each prompt is, from the comparisons of several models with one baseline."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

PRIOR_PRECISION = 1.0  # of γ: difficulties are standard normal before any comparison
RIDGE = 1.0  # on each model's φ
_STEPS = 60
_Array = NDArray[np.float64]
_Index = NDArray[np.int64]


def prompt_difficulty(
    wins: Sequence[Sequence[Sequence[float]]],
    differences: Sequence[Sequence[Sequence[float]]],
) -> list[float]:
    """γ of each prompt, in nats with mean 0; higher where the models do better.

        P(model m wins a comparison at prompt x) = σ(θ_m + φ_m tanh(Δ/s_m) + γ_x)

    The joint regression of Dubois et al. 2024 (https://arxiv.org/abs/2404.04475), section 3, with a
    normal prior on γ in place of their L1 penalty. The comparisons of a model at a prompt count as
    one. Found by alternating Newton steps on γ and on each model's θ and φ.

    Args:
        wins: [models][prompts][comparisons], from 0 to 1; a model may lack some prompts.
        differences: of the lengths, likewise.

    Raises:
        ValueError: the numbers of prompts differ, or a model has no comparison.
    """
    num_models, num_prompts = len(wins), len(wins[0])
    y, x, weights, model, prompt = _flat(wins, differences)
    theta, phi = np.zeros(num_models), np.zeros(num_models)
    gamma = np.zeros(num_prompts)
    for _ in range(_STEPS):
        p = _probabilities(theta[model] + phi[model] * x + gamma[prompt])
        slope = np.bincount(prompt, weights * (y - p), num_prompts) - PRIOR_PRECISION * gamma
        bend = np.bincount(prompt, weights * p * (1 - p), num_prompts) + PRIOR_PRECISION
        change = np.clip(slope / bend, -1.0, 1.0)
        gamma = gamma + change
        gamma -= gamma.mean()
        p = _probabilities(theta[model] + phi[model] * x + gamma[prompt])
        steps = _model_steps(weights * (y - p), weights * p * (1 - p), x, model, phi)
        theta = np.clip(theta + steps[0], -14.0, 14.0)
        phi = phi + steps[1]
        if max(np.abs(change).max(), np.abs(steps).max()) < 1e-6:
            break
    return [float(value) for value in gamma]


def _model_steps(residuals: _Array, bends: _Array, x: _Array, model: _Index, phi: _Array) -> _Array:
    """[2, M] Newton steps of every model's θ and φ, at most 1."""
    num_models = len(phi)
    slope_theta = np.bincount(model, residuals, num_models)
    slope_phi = np.bincount(model, residuals * x, num_models) - RIDGE * phi
    a = np.bincount(model, bends, num_models) + 1e-9
    b = np.bincount(model, bends * x, num_models)
    c = np.bincount(model, bends * x * x, num_models) + RIDGE
    determinant = a * c - b * b
    steps = np.stack(
        [
            (c * slope_theta - b * slope_phi) / determinant,
            (a * slope_phi - b * slope_theta) / determinant,
        ]
    )
    clipped: _Array = np.clip(steps, -1.0, 1.0)
    return clipped


def _flat(
    wins: Sequence[Sequence[Sequence[float]]],
    differences: Sequence[Sequence[Sequence[float]]],
) -> tuple[_Array, _Array, _Array, _Index, _Index]:
    """wins, tanh(Δ/s), weights, models and prompts of all comparisons."""
    parts = []
    for m, (of_wins, of_differences) in enumerate(zip(wins, differences, strict=True)):
        counts = [len(group) for group in of_wins]
        if len(of_wins) != len(wins[0]) or counts != [len(group) for group in of_differences]:
            raise ValueError(f"model {m}: wins and differences have other shapes")
        if not sum(counts):
            raise ValueError(f"model {m} has no comparison")
        y = np.concatenate([np.asarray(group, dtype=np.float64) for group in of_wins])
        d = np.concatenate([np.asarray(group, dtype=np.float64) for group in of_differences])
        spread = d.std(ddof=1) if len(d) > 1 else 0.0
        x = np.tanh(d / spread) if spread > 0 else np.zeros_like(d)
        prompt = np.repeat(np.arange(len(counts)), counts)
        parts.append((y, x, 1.0 / np.asarray(counts)[prompt], np.full(len(y), m), prompt))
    y, x, weights, model, prompt = (np.concatenate(each) for each in zip(*parts, strict=True))
    return y, x, weights, model, prompt


def _probabilities(logits: _Array) -> _Array:
    value: _Array = 1 / (1 + np.exp(-np.clip(logits, -30.0, 30.0)))
    return value
