"""Linear reward models by Newton's method: the ceiling, and learners without a network.

The Bayes-optimal reward is the posterior mean of the gold score. The learner that knows the
features and the distribution of their weights takes the posterior mode, which is close to the mean:
with a normal prior the posterior of a Plackett-Luce model is nearly normal.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recipes.toy_tasks.drawn.world import PART_OF, SIZES, Labels, Symbols, World, features

Array = NDArray[np.float64]
Features = Callable[[Symbols, Symbols], Array]  # prompts [N, 2], responses [N, L] -> [N, F]
DEVIATIONS = (0.025, 0.05, 0.1, 0.2, 0.4)  # of the weights of standardised features


@dataclass(frozen=True, kw_only=True)
class Linear:
    """A reward that is a weighted sum of features."""

    features: Features
    weights: Array  # [F]
    covariance: Array  # [F, F], of the posterior in Laplace's approximation

    def rewards(self, prompts: Symbols, responses: Symbols) -> Array:
        """[N, K] rewards of responses [N, K, L]."""
        values: Array = features_of(self.features, prompts, responses) @ self.weights
        return values


def features_of(function: Features, prompts: Symbols, responses: Symbols) -> Array:
    """[N, K, F] features of responses [N, K, L] to prompts [N, 2]."""
    count, choices, length = responses.shape
    rows = function(prompts.repeat(choices, axis=0), responses.reshape(-1, length))
    return rows.reshape(count, choices, -1)


def bayes(world: World, labels: Labels) -> Linear:
    """The learner that knows the features and the deviation of each weight."""
    x = features_of(features, labels.prompts, labels.responses)
    weights, covariance = _fit(x, world.prior**-2)
    return Linear(features=features, weights=weights, covariance=covariance)


def by_held_out(function: Features, train: Labels, held_out: Labels) -> Linear:
    """The learner that chooses the deviation of its weights by the loss of held-out labels."""
    x = features_of(function, train.prompts, train.responses)
    y = features_of(function, held_out.prompts, held_out.responses)
    size = (x - x.mean(axis=1, keepdims=True)).std(axis=(0, 1)).clip(min=1e-3)
    fits: list[tuple[Array, Array]] = []
    for deviation in DEVIATIONS:
        fits.append(_fit(x, (size / deviation) ** 2, start=fits[-1][0] if fits else None))
    weights, covariance = min(fits, key=lambda fit: loss_of(y, fit[0]))
    return Linear(features=function, weights=weights, covariance=covariance)


def neighbours(prompts: Symbols, responses: Symbols) -> Array:
    """[N, F]: counts, order and length, which any text has: a bag of words and word pairs."""
    parts = [list(SIZES).index(name) for name in ("counts", "order", "length")]
    return features(prompts, responses)[:, np.isin(PART_OF, parts)]


def loss_of(x: Array, weights: Array) -> float:
    """Mean negative log-likelihood of rankings, best first; x: [N, K, F]."""
    scores = x @ weights
    losses = [_log_sum(scores[:, i:]) - scores[:, i] for i in range(x.shape[1] - 1)]
    return float(np.sum(losses, axis=0).mean())


def _fit(x: Array, precision: Array, *, start: Array | None = None) -> tuple[Array, Array]:
    """Weights of the posterior mode and its covariance; prior: normal, 0, these precisions."""
    weights = np.zeros(x.shape[-1]) if start is None else start
    value = _posterior(x, weights, precision)
    for _ in range(50):
        gradient, hessian = derivatives(x, weights)
        hessian[np.diag_indices_from(hessian)] += precision
        step = np.linalg.solve(hessian, gradient + precision * weights)
        size = 1.0
        while (next_value := _posterior(x, weights - size * step, precision)) > value + 1e-9:
            size /= 2  # Newton's step can be too long far from the mode
        weights, value = weights - size * step, next_value
        if np.abs(size * step).max() < 1e-4:
            break
    covariance: Array = np.linalg.inv(hessian).astype(np.float64)
    return weights, covariance


def derivatives(x: Array, weights: Array) -> tuple[Array, Array]:
    """Gradient [F] and Hessian [F, F] of the summed loss of rankings [N, K, F], best first."""
    if x.shape[1] == 2:  # a third of the operations
        d = x[:, 0] - x[:, 1]
        p = 1 / (1 + np.exp(-(d @ weights)))
        return -(1 - p) @ d, (d * (p * (1 - p))[:, None]).T @ d
    gradient, hessian = np.zeros(x.shape[-1]), np.zeros((x.shape[-1], x.shape[-1]))
    for first in range(x.shape[1] - 1):
        left = x[:, first:]
        scores = left @ weights
        shares = np.exp(scores - _log_sum(scores)[:, None])
        mean = np.einsum("nk,nkf->nf", shares, left)
        gradient += (mean - left[:, 0]).sum(axis=0)
        weighted = (left * np.sqrt(shares)[..., None]).reshape(-1, x.shape[-1])
        hessian += weighted.T @ weighted - mean.T @ mean
    return gradient, hessian


def _posterior(x: Array, weights: Array, precision: Array) -> float:
    """Negative log-posterior up to a constant."""
    return loss_of(x, weights) * len(x) + float((precision * weights**2).sum()) / 2


def _log_sum(scores: Array) -> Array:
    highest = scores.max(axis=1)
    total: Array = highest + np.log(np.exp(scores - highest[:, None]).sum(axis=1))
    return total


def chosen_pairs(model: Linear, prompts: Symbols, responses: Symbols, count: int) -> Sequence[int]:
    """The `count` candidate pairs that teach a linear model most, without regard to each other.

    The expected fall of the entropy of its weights by a label of the pair with the features
    difference d is about log(1 + p (1 - p) d'Σd) / 2.

    responses: [N, 2, L].
    """
    x = features_of(model.features, prompts, responses)
    d = x[:, 0] - x[:, 1]
    p = 1 / (1 + np.exp(-(d @ model.weights)))
    gains = p * (1 - p) * np.einsum("nf,fg,ng->n", d, model.covariance, d)
    order: list[int] = np.argsort(-gains, kind="stable")[:count].tolist()
    return order
