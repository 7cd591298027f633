"""Coverage of win rates by people on some prompts and a simulated judge on all."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlhf.evaluation.stats.prediction_powered import PredictionPowered, prediction_powered_mean
from rlhf.evaluation.stats.sampled_length import (
    sampled_equal_length_win_rate,
    sampled_length_controlled_win_rate,
)
from rlhf.evaluation.stats.sampling_design import sampling_probabilities, systematic_sample

PROMPTS, LABELS = 400, 60
Array = NDArray[np.float64]
Judge = Callable[[np.random.Generator, Array], Array]
"""The judge's wins of prompts, given the people's."""


def biased(rng: np.random.Generator, people: Array) -> Array:
    """Agrees with people on 70% of the prompts and prefers the model on the others."""
    return np.where(rng.random(len(people)) < 0.7, people, 1.0)


def noisy(rng: np.random.Generator, people: Array) -> Array:
    """Agrees with people on 70% of the prompts and flips a coin on the others."""
    coins = rng.integers(0, 2, len(people))
    return np.where(rng.random(len(people)) < 0.7, people, coins)


def useless(rng: np.random.Generator, people: Array) -> Array:
    """A win, a tie or a loss, whatever people say."""
    return rng.choice([0.0, 0.5, 1.0], len(people))


def contrary(rng: np.random.Generator, people: Array) -> Array:
    """Contradicts people on 80% of the prompts."""
    return np.where(rng.random(len(people)) < 0.8, 1 - people, people)


def unsure(rng: np.random.Generator, people: Array) -> Array:
    """Calls 40% ties and agrees with people on nine of ten others."""
    agreeing = np.where(rng.random(len(people)) < 0.9, people, 1 - people)
    return np.where(rng.random(len(people)) < 0.4, 0.5, agreeing)


JUDGES: dict[str, Judge] = {
    "biased": biased,
    "noisy": noisy,
    "useless": useless,
    "contrary": contrary,
    "unsure": unsure,
}


def prefers_longer(rng: np.random.Generator, people: Array, d: Array) -> Array:
    """Agrees with people on 70% of the prompts and prefers the longer response on the others."""
    return np.where(rng.random(len(people)) < 0.7, people, (d > 0).astype(float))


def no_help(rng: np.random.Generator, people: Array, d: Array) -> Array:
    """Flips a coin."""
    return rng.integers(0, 2, len(people)).astype(float)


SAMPLED_JUDGES: dict[str, Callable[[np.random.Generator, Array, Array], Array]] = {
    "prefers longer": prefers_longer,
    "no help": no_help,
}


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How often the intervals cover the truth, and how wide they are."""

    combined: float
    people: float  # people alone on the same prompts
    width: float  # of people with the judge, over that of people alone
    width_uniform: float  # over that of people alone on as many prompts drawn uniformly


def ppi_coverage(
    judge: Judge,
    *,
    repetitions: int,
    seed: int = 0,
    truth: float = 0.6,
    prompts: int = PROMPTS,
    labels: int = LABELS,
    by_uncertainty: bool = True,
) -> Coverage:
    """Coverage of the win rate `truth` by people on some prompts and a judge on all.

    Args:
        judge: the simulated judge.
        repetitions: number of simulated evaluations.
        seed: of all draws.
        truth: probability that people prefer the model's response.
        prompts: number of prompts.
        labels: number of prompts that people are asked about.
        by_uncertainty: whether they are drawn by the judge's uncertainty.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(repetitions):
        people = (rng.random(prompts) < truth).astype(float)
        wins = judge(rng, people)
        uncertainty = 4 * wins * (1 - wins) if by_uncertainty else np.zeros(prompts)
        probabilities = sampling_probabilities(uncertainty.tolist(), labels)
        drawn = set(systematic_sample(probabilities, seed=int(rng.integers(2**31))))
        answers = [float(win) if i in drawn else None for i, win in enumerate(people)]
        estimate = prediction_powered_mean(wins.tolist(), answers, probabilities)
        first = people[:labels].tolist() + [None] * (prompts - labels)
        uniform = prediction_powered_mean([0.5] * prompts, first).people
        both, alone = estimate.combined, estimate.people
        widths = [each.high - each.low for each in (both, alone, uniform)]
        rows.append([both.low <= truth <= both.high, alone.low <= truth <= alone.high, *widths])
    combined, alone_, width, width_alone, width_uniform = np.mean(np.array(rows, dtype=float), 0)
    return Coverage(
        combined=float(combined),
        people=float(alone_),
        width=float(width / width_alone),
        width_uniform=float(width / width_uniform),
    )


def sampled_length_coverage(
    judge: Callable[[np.random.Generator, Array, Array], Array],
    *,
    repetitions: int,
    equal_length: bool,
    seed: int = 0,
    labels: int = LABELS,
) -> Coverage:
    """Coverage of the win rate without the effect of length, 0.6, by people on some prompts.

    People have a taste for length of one logit, and responses are 0.3 standard deviations longer.

    Args:
        judge: its wins, given the people's and the differences of lengths.
        repetitions: number of simulated evaluations.
        equal_length: `equal_length_win_rate`, else `length_controlled_win_rate`.
        seed: of all draws.
        labels: number of prompts that people are asked about.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(repetitions):
        d = rng.normal(0.3, 1.0, PROMPTS)
        logits = np.log(0.6 / 0.4) + np.tanh(d / d.std(ddof=1))
        people = (rng.random(PROMPTS) < 1 / (1 + np.exp(-logits))).astype(float)
        verdicts = judge(rng, people, d)
        probabilities = sampling_probabilities((4 * verdicts * (1 - verdicts)).tolist(), labels)
        drawn = set(systematic_sample(probabilities, seed=int(rng.integers(2**31))))
        answers = [[win] if i in drawn else None for i, win in enumerate(people.tolist())]
        wins, differences, lengths = (
            [[float(value)] for value in each]
            for each in (verdicts, d, np.exp(rng.normal(7.0, 0.4, PROMPTS)))
        )
        estimate: PredictionPowered
        if equal_length:
            estimate = sampled_equal_length_win_rate(wins, answers, differences, probabilities)
        else:
            estimate = sampled_length_controlled_win_rate(
                wins, answers, differences, lengths, probabilities
            )
        both, alone = estimate.combined, estimate.people
        covered = [each.low <= 0.6 <= each.high for each in (both, alone)]
        rows.append([*covered, both.high - both.low, alone.high - alone.low])
    combined, alone_, width, width_alone = np.mean(np.array(rows, dtype=float), 0)
    ratio = float(width / width_alone)
    return Coverage(
        combined=float(combined), people=float(alone_), width=ratio, width_uniform=ratio
    )
