"""Win rates without the effect of length, from people on some prompts and a judge on all.

Both estimators are smooth functions of the prompts' weights: each prompt has an influence on them
that a fit to many prompts tells (Hampel 1974). With v the estimate from the people's labels and
φ_i the influence of prompt i on it, the labels v + φ_i have the mean v, and a mean of labels with a
judge on all prompts is what `prediction_powered_mean` estimates. The same is done with the judge's
verdicts on all prompts. This is the estimator of Chen & Chen (2000,
https://doi.org/10.1111/1467-9868.00243) for regressions with a surrogate outcome, with the weight
of PPI++.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from rlhf.evaluation.stats.equal_length import RIDGE
from rlhf.evaluation.stats.length_control import TASTE, with_taste
from rlhf.evaluation.stats.length_regression import (
    Array,
    Comparisons,
    Groups,
    Index,
    LengthRegression,
    design,
    flat,
    sigmoid,
    without_length,
)
from rlhf.evaluation.stats.prediction_powered import PredictionPowered, prediction_powered_mean

FEWEST_LABELS = 10  # prompts that people labelled: the regression has up to three coefficients
MOST_LEVERAGE = 0.9
Labels = Sequence[Sequence[float] | None]
"""[prompts][comparisons] of people; None at prompts without labels."""
Fit = Callable[[Comparisons], LengthRegression]


def sampled_length_controlled_win_rate(
    predictions: Groups | None,
    labels: Labels,
    differences: Groups,
    baseline_lengths: Groups,
    probabilities: Sequence[float] | None = None,
    *,
    taste: float = TASTE,
    level: float = 0.95,
) -> PredictionPowered:
    """`length_controlled_win_rate` of one model by people, with a judge on all prompts.

    The taste for length that φ is drawn towards is that of AlpacaEval 2's judge, also for people.

    Args:
        predictions: the judge's wins, [prompts][comparisons]; None without a judge.
        labels: the people's wins, None at prompts without them.
        differences: length of the response minus that of the baseline's, in any unit.
        baseline_lengths: of the baseline's response.
        probabilities: of each prompt's labels, 1 where they are known in advance; None if they
            are equal.
        taste: as in `length_controlled_win_rate`.
        level: of the intervals.

    Raises:
        ValueError: fewer than ten prompts have labels, a prompt has no comparison, or the shapes
            differ.
    """
    d, lengths = flat(differences, range(len(labels))), flat(baseline_lengths, range(len(labels)))
    x = design(d, np.log1p(lengths), spread=float(d.std(ddof=1)))
    return _combined(
        x,
        differences,
        predictions,
        labels,
        probabilities,
        lambda rows: LengthRegression.of(with_taste(rows, taste)),
        level,
    )


def sampled_equal_length_win_rate(
    predictions: Groups | None,
    labels: Labels,
    differences: Groups,
    probabilities: Sequence[float] | None = None,
    *,
    level: float = 0.95,
) -> PredictionPowered:
    """`equal_length_win_rate` of one model by people, with a judge on all prompts.

    The taste for length is that of the people's labels; the judge's own taste is taken out of its
    verdicts. Arguments and errors are those of `sampled_length_controlled_win_rate`.
    """
    d = flat(differences, range(len(labels)))
    x = design(d, None, spread=float(np.sqrt((d**2).mean())))
    return _combined(
        x,
        differences,
        predictions,
        labels,
        probabilities,
        lambda rows: LengthRegression.of(rows, ridge=RIDGE),
        level,
    )


def _combined(
    x: Array,
    differences: Groups,
    predictions: Groups | None,
    labels: Labels,
    probabilities: Sequence[float] | None,
    fit: Fit,
    level: float,
) -> PredictionPowered:
    labelled = {prompt: label for prompt, label in enumerate(labels) if label is not None}
    if len(labelled) < FEWEST_LABELS:
        raise ValueError(f"{len(labelled)} prompts have labels; use {FEWEST_LABELS} or more")
    prompt = np.repeat(np.arange(len(labels)), [len(group) for group in differences])
    drawn = np.ones(len(labels)) if probabilities is None else np.asarray(probabilities)
    weights = 1 / drawn[list(labelled)]
    values = np.full(len(labels), np.nan)
    if len(wins := {win for label in labelled.values() for win in label}) == 1:
        values[list(labelled)] = wins.pop()  # no fit: its maximum is at infinity
    else:
        values[list(labelled)] = _values(x, prompt, labelled, weights / weights.mean(), fit)
    verdicts = np.zeros(len(labels))
    if predictions is not None and len({win for each in predictions for win in each}) > 1:
        verdicts = _values(x, prompt, dict(enumerate(predictions)), np.ones(len(labels)), fit)
    return prediction_powered_mean(
        verdicts.tolist(),
        [float(values[i]) if i in labelled else None for i in range(len(labels))],
        probabilities,
        level=level,
        parameters=x.shape[1],
    )


def _values(
    x: Array, prompt: Index, wins: Mapping[int, Sequence[float]], weights: Array, fit: Fit
) -> Array:
    """[P] the estimate from these prompts plus the influence of each, with mean v by weight.

        φ_i = σ(x_i β) - v + (∂v/∂β)ᵀ (H/W)⁻¹ g_i

    x_i is the prompt's row without length, g_i its gradient, H the Hessian of all prompts and W
    their weight. The fit makes residuals too small, so the last term is divided by the root of 1
    minus the prompt's leverage (HC2), as far as a mean would not be too.

    Args:
        x: the design, [n, k].
        prompt: of each row of x.
        wins: of the prompts to use, in ascending order.
        weights: [P] of these prompts, with mean 1; their comparisons share it.
        fit: the regression.
    """
    used = np.isin(prompt, list(wins))
    counts = np.array([len(each) for each in wins.values()])
    y, own = flat(list(wins.values()), range(len(wins))), np.repeat(np.arange(len(wins)), counts)
    if len(y) != used.sum():
        raise ValueError(f"{len(y)} wins of {used.sum()} comparisons")
    share = np.repeat(weights / counts, counts) * counts.mean()
    fitted = fit(Comparisons(x=x[used], wins=y, weights=share, prompt=own))
    share = share / share.sum()
    test, inverse = without_length(x[used]), fitted.inverse_hessian()
    p = sigmoid(test @ fitted.beta)
    value, slope = float(share @ p), inverse @ (test.T @ (share * p * (1 - p)))
    of_prompt = np.bincount(own, share)
    leverage = np.minimum(np.einsum("pij,ji->p", fitted.hessians, inverse), MOST_LEVERAGE)
    enlarged = np.sqrt(np.maximum((1 - of_prompt) / (1 - leverage), 1.0))
    influence = np.bincount(own, share * (p - value)) + fitted.gradients @ slope * enlarged
    influence = influence / of_prompt
    values: Array = value + influence - float(of_prompt @ influence)
    return values
