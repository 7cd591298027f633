"""Win rates of equal models whose responses differ in length, with and without that effect."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlhf.evaluation.stats.equal_length import equal_length_win_rate
from rlhf.evaluation.stats.length_control import length_controlled_win_rate

PROMPTS = 400
Array = NDArray[np.float64]
LENGTH_JUDGES: dict[str, Callable[[Array], Array]] = {
    "no taste for length": lambda d: np.full(len(d), 0.5),
    "taste of one logit": lambda d: 1 / (1 + np.exp(-np.tanh(d))),
    "strong taste": lambda d: 1 / (1 + np.exp(-4 * d)),
}


@dataclass(frozen=True, kw_only=True)
class LengthCase:
    """Mean estimates of the win rate of two equal models whose responses differ in length."""

    raw: float
    controlled: float  # length_controlled_win_rate
    equal: float  # equal_length_win_rate


def length_case(
    wins_by_length: Callable[[Array], Array], *, longer: float, repetitions: int, seed: int = 0
) -> LengthCase:
    """Estimates with a judge that decides by length, or not at all.

    Args:
        wins_by_length: P(win) for differences in standard deviations.
        longer: how much longer the model's responses are on average, in standard deviations.
        repetitions: evaluations of 400 prompts.
        seed: of all draws.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(repetitions):
        lengths = np.exp(rng.normal(7.0, 0.4, PROMPTS))
        d = rng.normal(longer, 1.0, PROMPTS)
        wins = (rng.random(PROMPTS) < wins_by_length(d)).astype(float)
        groups = [[[float(value)] for value in each] for each in (wins, d, lengths)]
        rows.append(
            [
                wins.mean(),
                length_controlled_win_rate(*groups, resamples=1).value,
                equal_length_win_rate(*groups[:2], resamples=1).value,
            ]
        )
    raw, controlled, equal = (float(value) for value in np.mean(rows, 0))
    return LengthCase(raw=raw, controlled=controlled, equal=equal)
