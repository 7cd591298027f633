"""The gate of reward models of verdicts and of ratings: pass, warn or fail, with reasons."""

from collections.abc import Mapping, Sequence

from rlhf.evaluation.core.results import Result
from rlhf.evaluation.reward_model.best_of_n import BestOfN
from rlhf.evaluation.reward_model.gate import (
    FEW_PROMPTS,
    TOO_FEW_PROMPTS,
    Gate,
    check_accuracy,
    check_best_of_n,
    check_calibration,
    check_probes,
    find_value,
    gate_of,
)
from rlhf.runtime.printing import counted

WEAK_CORRELATION = 0.3  # a tenth of the variance of the ratings is explained


def judge_verifier(
    results: Sequence[Result], curve: Sequence[BestOfN] = (), *, trained_on: int = 0
) -> Gate:
    """The verdict on a model of verdicts.

    - fail: the interval of the AUC includes chance or has too few prompts; responses to one prompt
      are ordered significantly worse than by chance; a probe fails as for rankings.
    - warn: the AUC is low, not better than that of length, or has few prompts; responses to one
      prompt, which PPO compares, are not ordered significantly better than by chance; probabilities
      are no better than a constant, or miscalibrated; the other warnings of rankings.

    Args:
        results: the metrics.
        curve: best of N.
        trained_on: number of held-out responses with prompts that the model was trained on.
    """
    failures, warnings = check_accuracy(results, "auc", "length_auc")
    within = _check_within_prompts(results)
    relative = find_value(results, "brier_ratio")
    if relative is not None and relative.high >= 1:
        warnings.append(
            f"Brier score over that of a constant {relative}: the probabilities are no better"
        )
    warnings += check_calibration(results, "probabilities")
    return _gate(failures + within[0], warnings + within[1], results, curve, trained_on)


def judge_axes(
    results: Sequence[Result],
    weights: Mapping[str, float],
    curve: Sequence[BestOfN] = (),
    *,
    trained_on: int = 0,
) -> Gate:
    """The verdict on a model of ratings.

    - fail: the correlation of the reward with the weighted sum of the ratings includes 0 or has too
      few prompts; that of an axis with a weight is below 0; responses to one prompt are ordered
      significantly worse than by chance; a probe fails as for rankings.
    - warn: a correlation of the reward below 0.3, few prompts; the interval of an axis with a
      weight includes 0; responses to one prompt are not ordered significantly better than by
      chance; the other warnings of rankings, without the calibration.

    Args:
        results: the metrics.
        weights: of the axes in the reward.
        curve: best of N.
        trained_on: number of held-out responses with prompts that the model was trained on.
    """
    failures, warnings = _check_correlation(results)
    for axis in (axis for axis, weight in weights.items() if weight):
        value = find_value(results, "axis_correlation", axis=axis)
        if value is None:
            warnings.append(f"{axis}: too few held-out ratings that differ, it was not measured")
        elif value.high < 0:
            failures.append(f"{axis}: correlation {value} with its ratings, reversed")
        elif value.low <= 0:
            warnings.append(
                f"{axis}: correlation {value} with its ratings, the interval includes 0"
            )
    within = _check_within_prompts(results)
    return _gate(failures + within[0], warnings + within[1], results, curve, trained_on)


def _gate(
    failures: Sequence[str],
    warnings: Sequence[str],
    results: Sequence[Result],
    curve: Sequence[BestOfN],
    trained_on: int,
) -> Gate:
    """The gate with the checks that both kinds share."""
    leaked = []
    if trained_on:
        leaked.append(
            f"{trained_on} held-out responses have prompts that were trained on: the metrics are "
            "too good"
        )
    of_probes = check_probes(results)
    return gate_of(
        [*failures, *of_probes[0]],
        [*warnings, *leaked, *of_probes[1], *check_best_of_n(curve)],
        results,
    )


def _check_within_prompts(results: Sequence[Result]) -> tuple[list[str], list[str]]:
    """Failures and warnings of the order among responses to one prompt, where there are several."""
    accuracy = find_value(results, "accuracy")
    if accuracy is None:
        return [], [
            "no prompt has responses with different labels: it is unknown whether the model orders "
            "responses to one prompt, which PPO compares"
        ]
    measured = f"accuracy among responses to one prompt {accuracy}"
    if accuracy.high < 0.5 and accuracy.n >= TOO_FEW_PROMPTS:
        return [f"{measured}: reversed"], []
    if accuracy.low <= 0.5:
        return [], [f"{measured}: the interval includes 0.5, chance"]
    return [], []


def _check_correlation(results: Sequence[Result]) -> tuple[list[str], list[str]]:
    """Failures and warnings of the whole reward."""
    value = find_value(results, "correlation")
    if value is None:
        return ["too few held-out responses with all weighted ratings: no correlation"], []
    measured = f"correlation of the reward {value}, {counted(value.n, 'prompt')}"
    if value.n < TOO_FEW_PROMPTS:
        return [f"{measured}: fewer than {TOO_FEW_PROMPTS} prompts are not conclusive"], []
    if value.high < 0:
        return [f"{measured}: reversed"], []
    if value.low <= 0:
        return [f"{measured}: the interval includes 0"], []
    warnings = [f"{measured}: below {WEAK_CORRELATION}"] if value.value < WEAK_CORRELATION else []
    if value.n < FEW_PROMPTS:
        warnings.append(f"{measured}: fewer than {FEW_PROMPTS} prompts")
    return [], warnings
