"""A mean from labels by people on some prompts and predictions by a judge on all of them.

Prediction-powered inference with power tuning, PPI++ (Angelopoulos, Duchi & Zrnic 2023,
https://arxiv.org/abs/2311.01453), for prompts that are drawn with known probabilities. The judge
may be biased, noisy or useless: its bias is measured on the prompts that people labelled and
subtracted, and its weight falls to 0 if its predictions tell nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlhf.evaluation.stats.bootstrap import Estimate, wilson

EDGE = 0.01  # distance from 0 and 1 at which the log-odds are taken at least
FEWEST_LABELS = 3  # that an interval is made from: the judge's weight takes one of them
_Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PredictionPowered:
    """The mean by people and judge together, and by people alone."""

    combined: Estimate
    people: Estimate
    judge_weight: float  # λ; 0 if the judge is not used, 1 if it is used as it is
    num_labelled: int  # prompts that were drawn and labelled


def prediction_powered_mean(
    predictions: Sequence[float],
    labels: Sequence[float | None],
    probabilities: Sequence[float] | None = None,
    *,
    level: float = 0.95,
    parameters: int = 1,
) -> PredictionPowered:
    """The mean of the labels that people would give to all prompts, from 0 to 1.

        θ(λ) = ȳ_w + λ (f̄ - f̄_w)

    f̄ is the judge's mean over all N prompts; ȳ_w and f̄_w are the means of labels and predictions
    over the labelled ones, with weights w ∝ 1/probability of the draw (Hájek 1971). λ = 0 are the
    people alone. The variance is that of the influence of the prompts,

        ψ_i = w_i (y_i - ȳ_w) + λ (f_i - f̄ - w_i (f_i - f̄_w)),   mean of w = 1, w = 0 if unlabelled

    and λ minimises Σ ψ². The fitted means and λ make the residuals of labels too small: each is
    divided by the root of 1 minus its leverage (HC2, MacKinnon & White 1985), which is exact for
    people alone with equal weights. With equal probabilities this is PPI++ with its λ times
    N/(N-n). The interval is Student's t on the log-odds with n - k - [λ ≠ 0] degrees of freedom, n
    the labels that were drawn with a probability below 1, k = 1 for the mean. The people's own
    interval is kept if it is the narrower one.

    Args:
        predictions: the judge's, one per prompt.
        labels: the people's, None at prompts without a label.
        probabilities: of each prompt's label, 1 where the label is known in advance; those of
            unlabelled prompts are not used. None if they are equal.
        level: of the intervals.
        parameters: k, fitted to the labels; more than 1 for labels that come from a regression.

    Raises:
        ValueError: lengths differ, a number is not finite, the labels' mean is not in [0, 1], a
            probability is not in (0, 1], or there are fewer than three labels.
    """
    f, y, w, num_labelled = _arrays(predictions, labels, probabilities)
    own, by_judge = w * (y - _weighted(y, w)), f - f.mean() - w * (f - _weighted(f, w))
    spread = float((by_judge**2).sum())
    judge_weight = -float((own * by_judge).sum()) / spread if spread > 1e-12 else 0.0
    leverage = w / w.sum()
    people = _estimate(
        _weighted(y, w), own / np.sqrt(1 - leverage), num_labelled, num_labelled - parameters, level
    )
    if judge_weight == 0 or num_labelled < FEWEST_LABELS:
        return PredictionPowered(
            combined=people, people=people, judge_weight=0.0, num_labelled=num_labelled
        )
    value = _weighted(y, w) + judge_weight * float(f.mean() - _weighted(f, w))
    residual = y - judge_weight * f
    deviation = w * (f - _weighted(f, w)) ** 2
    leverage = np.minimum(leverage + deviation / max(float(deviation.sum()), 1e-12), 0.9)
    psi = judge_weight * (f - f.mean()) + w * (residual - _weighted(residual, w)) / np.sqrt(
        1 - leverage
    )
    combined = _estimate(value, psi, num_labelled, num_labelled - parameters - 1, level)
    if combined.high - combined.low >= people.high - people.low:
        combined, judge_weight = people, 0.0
    return PredictionPowered(
        combined=combined, people=people, judge_weight=judge_weight, num_labelled=num_labelled
    )


def _arrays(
    predictions: Sequence[float],
    labels: Sequence[float | None],
    probabilities: Sequence[float] | None,
) -> tuple[_Array, _Array, _Array, int]:
    """Predictions, labels (0 if there is none), weights with mean 1, and how many were drawn."""
    f = np.asarray(predictions, dtype=np.float64)
    labelled = np.array([label is not None for label in labels])
    y = np.array([0.0 if label is None else label for label in labels], dtype=np.float64)
    drawn = np.ones(len(f)) if probabilities is None else np.asarray(probabilities, dtype=float)
    if not f.shape == y.shape == drawn.shape:
        raise ValueError(f"{len(f)} predictions, {len(y)} labels, {len(drawn)} probabilities")
    if not (np.isfinite(f).all() and np.isfinite(y).all()):
        raise ValueError("a prediction or a label is not finite")
    if labelled.sum() < FEWEST_LABELS:
        raise ValueError(f"{labelled.sum()} labels; an interval needs {FEWEST_LABELS} or more")
    if not ((drawn[labelled] > 0) & (drawn[labelled] <= 1)).all():
        raise ValueError("a labelled prompt has a probability outside (0, 1]")
    weights = np.zeros(len(f))
    weights[labelled] = 1 / drawn[labelled]
    # The labels of a regression may be outside, but not their mean.
    if not -1e-9 <= _weighted(y, weights) <= 1 + 1e-9:
        raise ValueError("the labels have a mean outside [0, 1]; a win is 1, a tie 0.5, a loss 0")
    num_drawn = int((labelled & (drawn < 1)).sum()) or int(labelled.sum())
    return f, y, weights / weights.mean(), num_drawn


def _weighted(values: _Array, weights: _Array) -> float:
    return float((weights * values).sum() / weights.sum())


def _estimate(value: float, psi: _Array, labelled: int, freedom: int, level: float) -> Estimate:
    """`value` with the interval of Student's t from the prompts' influence."""
    error = math.sqrt(float((psi**2).sum())) / len(psi)
    if error < 1e-12:
        return _certain(value, labelled, len(psi))
    freedom = max(freedom, 1)
    half = _quantile(freedom, level) * error
    inside = min(max(value, EDGE), 1 - EDGE)
    centre, half = math.log(inside / (1 - inside)), half / (inside * (1 - inside))
    low, high = (1 / (1 + math.exp(-end)) for end in (centre - half, centre + half))
    return Estimate(
        value=value, low=low, high=high, n=len(psi), se=error, level=level, freedom=freedom
    )


def _certain(value: float, labelled: int, n: int) -> Estimate:
    """Labels that all agree: Wilson's interval for as many coin flips."""
    low, high = wilson(value, labelled)
    low, high = min(low, value), max(high, value)
    return Estimate(value=value, low=low, high=high, n=n, se=(high - low) / (2 * 1.96))


def _quantile(freedom: int, level: float) -> float:
    from scipy.special import stdtrit  # half a second

    return float(stdtrit(freedom, (1 + level) / 2))
