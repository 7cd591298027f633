"""The logistic regression of wins on length, and what a change of the prompts' weights does to it.

    P(win) = σ(θ + φ tanh(Δ/s) + ψ γ)

`length_control` and `equal_length` say what the terms are and which of them are regularised.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LIMIT = 14.0  # of a coefficient: a model that always wins has θ = ∞
_STEPS = 60
Array = NDArray[np.float64]
Index = NDArray[np.int64]
Groups = Sequence[Sequence[float]]
"""[prompts][comparisons] of one model."""


@dataclass(frozen=True, kw_only=True)
class Comparisons:
    """Comparisons as rows: intercept, tanh(Δ/s) and, if there is one, the prompt's difficulty."""

    x: Array  # [n, 2 or 3]
    wins: Array  # [n]
    weights: Array  # [n]
    prompt: Index  # [n], numbered without gaps


@dataclass(frozen=True, kw_only=True)
class LengthRegression:
    """Coefficients of all prompts, and what other weights of the prompts need to change them."""

    beta: Array  # [k]
    gradients: Array  # [P, k] of each prompt's log-likelihood at beta
    hessians: Array  # [P, k, k]
    ridge: Array  # [k]

    @classmethod
    def of(cls, rows: Comparisons, *, ridge: float = 0.0) -> "LengthRegression":
        """The fit by Newton's method.

        Args:
            rows: the comparisons.
            ridge: weight of φ²/2, which is subtracted from the log-likelihood.
        """
        x, y, weights, prompt = rows.x, rows.wins, rows.weights, rows.prompt
        penalty = ridge * (np.arange(x.shape[1]) == 1)
        beta = np.zeros(x.shape[1])
        for _ in range(_STEPS):
            p = sigmoid(x @ beta)
            hessian = (x * (weights * p * (1 - p))[:, None]).T @ x + _added(penalty)
            step = np.linalg.solve(hessian, x.T @ (weights * (y - p)) - penalty * beta)
            beta = np.clip(beta + np.clip(step, -2.0, 2.0), -LIMIT, LIMIT)
            if np.abs(step).max() < 1e-9:
                break
        p = sigmoid(x @ beta)
        num_prompts, k = int(prompt.max()) + 1, x.shape[1]
        gradients, hessians = np.zeros((num_prompts, k)), np.zeros((num_prompts, k, k))
        outer = x[:, :, None] * x[:, None, :]
        np.add.at(gradients, prompt, x * (weights * (y - p))[:, None])
        np.add.at(hessians, prompt, (weights * p * (1 - p))[:, None, None] * outer)
        return cls(beta=beta, gradients=gradients, hessians=hessians, ridge=penalty)

    @property
    def num_prompts(self) -> int:
        """Prompts with a comparison."""
        return len(self.gradients)

    def step(self, counts: Array) -> Array:
        """[B, k] coefficients after a Newton step on each resample of prompts [B, P]."""
        hessians = np.einsum("bp,pij->bij", counts, self.hessians) + _added(self.ridge)
        slopes = counts @ self.gradients - self.ridge * self.beta
        steps = np.linalg.solve(hessians, slopes[:, :, None])[:, :, 0]
        moved: Array = self.beta + steps
        return moved

    def inverse_hessian(self) -> Array:
        """[k, k] of the negative log-likelihood of all prompts."""
        inverse: Array = np.linalg.inv(self.hessians.sum(0) + _added(self.ridge))
        return inverse


def design(differences: Array, difficulty: Array | None, *, spread: float) -> Array:
    """[n, 2 or 3] intercept, tanh(Δ/spread), and the difficulty with mean 0 and deviation 1.

    A spread of 0 gives a length term of 0, and a constant difficulty no column.
    """
    length = np.tanh(differences / spread) if spread > 0 else np.zeros_like(differences)
    columns = [np.ones_like(differences), length]
    if difficulty is not None and difficulty.std() > 1e-12:
        columns.append((difficulty - difficulty.mean()) / difficulty.std())
    return np.stack(columns, axis=1)


def without_length(x: Array) -> Array:
    """The rows with a length term of 0."""
    rest: Array = x * np.where(np.arange(x.shape[1]) == 1, 0.0, 1.0)
    return rest


def compared(wins: Groups, differences: Groups) -> tuple[list[int], Array, Array]:
    """The prompts that have a comparison, and the wins and differences of their comparisons.

    Raises:
        ValueError: there is none, the shapes differ, a win is outside [0, 1], or a difference is
            not finite.
    """
    used = [prompt for prompt in range(len(wins)) if len(wins[prompt])]
    if not used:
        raise ValueError("nothing to compare: no prompt has a comparison")
    check_shape(wins, differences, "differences")
    y, d = flat(wins, used), flat(differences, used)
    if not ((y >= 0) & (y <= 1)).all() or not np.isfinite(d).all():
        raise ValueError("a win is outside [0, 1], or a difference of lengths is not finite")
    return used, y, d


def check_shape(wins: Groups, others: Groups, name: str) -> None:
    """Check that there is a number for each comparison.

    Raises:
        ValueError: there is not.
    """
    if [len(group) for group in wins] != [len(group) for group in others]:
        sizes = [sum(map(len, groups)) for groups in (wins, others)]
        raise ValueError(
            f"{sizes[0]} wins at {len(wins)} prompts and {sizes[1]} {name} at {len(others)}; give "
            "one for each comparison"
        )


def has_no_fit(wins: Array, num_prompts: int) -> bool:
    """Whether a regression gives no interval: all are won, all are lost, or there is one prompt.

    In the first two cases the intercept is infinite in every resample, and an interval would have
    no width.
    """
    return num_prompts < 2 or wins.min() == 1 or wins.max() == 0


def flat(groups: Groups, used: Sequence[int]) -> Array:
    """The numbers of these prompts in one row."""
    return np.concatenate([np.asarray(groups[prompt], dtype=np.float64) for prompt in used])


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    value: Array = 1 / (1 + np.exp(-np.clip(x, -30.0, 30.0)))
    return value


def _added(penalty: Array) -> Array:
    """[k, k] the ridge, and so much that a Hessian of equal rows can be inverted."""
    added: Array = np.diag(penalty + 1e-9)
    return added
