"""Metrics of a reward model on held-out verdicts and ratings: pure functions of scored rows."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from rlhf.data.rows.parse_rated import CORRECT
from rlhf.data.rows.split import group_key
from rlhf.data.source_formats.parts import rank
from rlhf.evaluation.core.results import Result, result_of
from rlhf.evaluation.reward_model.calibration import (
    BINS,
    RESAMPLES,
    Case,
    calibration_error_of,
    error_of,
)
from rlhf.evaluation.reward_model.metrics import accuracy
from rlhf.evaluation.reward_model.scored_rankings import ScoredRanking, average
from rlhf.evaluation.stats.bootstrap import Estimate, jackknife, ratio
from rlhf.evaluation.stats.composite import share_of
from rlhf.models.axes import Axis
from rlhf.ops.accuracy import auc_with_freedom
from rlhf.types import Ranking, RatedResponse


@dataclass(frozen=True, kw_only=True)
class ScoredResponse:
    """A held-out response with the outputs of the reward model."""

    row: RatedResponse
    score: float  # raw logit, the weighted sum of the axes
    axes: Sequence[float]  # outputs of the axes' heads
    length: int  # in tokens of prompt and response

    @cached_property
    def prompt(self) -> str:
        """The key of the prompt: responses to one prompt are not independent."""
        return group_key(self.row)


def outcome_metrics(scored: Sequence[ScoredResponse], model: str) -> list[Result]:
    """Discrimination and calibration of σ(score) as the probability that a response is correct.

    Metrics without data (fewer than two prompts, responses of one kind) are left out.
    """
    cases = probability_cases(scored)
    rate = sum(correct for _, _, correct in cases) / max(len(cases), 1)
    estimates = {
        "auc": _auc(scored, [one.score for one in scored]),
        "length_auc": _auc(scored, [float(one.length) for one in scored]),
        "accuracy_at_half": share_of(
            (p, float((value >= 0.5) == (y == 1))) for p, value, y in cases
        ),
        "rate": share_of((prompt, correct) for prompt, _, correct in cases),
        "brier": average((prompt, (value - y) ** 2) for prompt, value, y in cases),
        "brier_ratio": _brier_ratio(cases, rate),
        "ece": calibration_error_of(cases, probability_bin),
        "ece_by_chance": error_by_chance(cases),
    }
    return [
        result_of(estimate, metric, model)
        for metric, estimate in estimates.items()
        if estimate is not None
    ]


def axis_metrics(
    scored: Sequence[ScoredResponse], axes: Sequence[Axis], model: str
) -> list[Result]:
    """How each head predicts the ratings of its axis, and the reward their weighted sum.

    Metrics without data (fewer than two prompts, ratings that do not differ) are left out.
    """
    estimates: list[tuple[str, str | None, Estimate | None]] = [
        ("correlation", None, correlation(_weighted_sums(scored, axes)))
    ]
    for place, axis in enumerate(axes):
        rated = [one for one in scored if axis.name in one.row.ratings]
        cases = [(one.prompt, one.axes[place], one.row.ratings[axis.name]) for one in rated]
        errors = ((p, abs(axis.mean + axis.std * output - y)) for p, output, y in cases)
        pairs = rankings_of(rated, [y for _, _, y in cases], [output for _, output, _ in cases])
        estimates += [
            ("axis_correlation", axis.name, correlation(cases)),
            ("axis_accuracy", axis.name, accuracy(pairs)),
            ("axis_error", axis.name, average(errors)),
        ]
    return [
        result_of(estimate, metric, model, axis=name)
        for metric, name, estimate in estimates
        if estimate is not None
    ]


def correlation(cases: Iterable[tuple[str, float, float]]) -> Estimate | None:
    """Pearson's r of (prompt, x, y) cases; None for fewer than two prompts or a constant.

    Jackknife over prompts of Fisher's z = atanh(r), whose interval stays within [-1, 1].
    """
    sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(6))
    for prompt, x, y in cases:
        sums[prompt] += (1.0, x, y, x * x, y * y, x * y)
    by_prompt = np.array(list(sums.values()))
    if len(by_prompt) < 2:
        return None
    total = by_prompt.sum(0)
    z = _fisher_z(total)
    others = [value for row in by_prompt if (value := _fisher_z(total - row)) is not None]
    if z is None or len(others) < 2:
        return None
    estimate = jackknife(z, others)
    return replace(
        estimate,
        value=math.tanh(z),
        low=math.tanh(estimate.low),
        high=math.tanh(estimate.high),
        n=len(by_prompt),
        se=None,
    )


def rankings_of(
    scored: Sequence[ScoredResponse], values: Sequence[float], scores: Sequence[float]
) -> list[ScoredRanking]:
    """For each prompt the ranking of its different responses by the mean of their values.

    A prompt with one response has no ranking.

    Args:
        scored: the responses.
        values: of each; the highest is best.
        scores: of each, by the model.
    """
    by_prompt: dict[str, dict[str, list[int]]] = defaultdict(dict)
    for place, one in enumerate(scored):
        by_prompt[one.prompt].setdefault(one.row.completion, []).append(place)
    return [
        _ranking(scored, values, scores, list(by_text.values()))
        for by_text in by_prompt.values()
        if len(by_text) > 1
    ]


def _ranking(
    scored: Sequence[ScoredResponse],
    values: Sequence[float],
    scores: Sequence[float],
    texts: Sequence[Sequence[int]],
) -> ScoredRanking:
    """The ranking of a prompt; texts: for each different response the places of its rows."""
    first = [places[0] for places in texts]
    means = [sum(values[place] for place in places) / len(places) for places in texts]
    row = scored[first[0]].row
    return ScoredRanking(
        ranking=Ranking(
            prompt=row.prompt,
            responses=[scored[place].row.completion for place in first],
            ranks=rank(means),
            tools=row.tools,
        ),
        scores=[scores[place] for place in first],
        heads=[[scores[place]] for place in first],
        lengths=[scored[place].length for place in first],
    )


def reward_rankings(
    scored: Sequence[ScoredResponse], axes: Sequence[Axis], *, is_outcome: bool
) -> list[ScoredRanking]:
    """The rankings by verdict, or by the weighted sum of the ratings, with the model's scores."""
    complete = [one for one in scored if is_outcome or _has_all(one, axes)]
    values = [one.row.ratings[CORRECT] if is_outcome else _weighted(one, axes) for one in complete]
    return rankings_of(complete, values, [one.score for one in complete])


def probability_cases(scored: Sequence[ScoredResponse]) -> list[Case]:
    """(prompt, probability of being correct, 1 or 0) of each response."""
    probabilities = torch.tensor([one.score for one in scored], dtype=torch.float64).sigmoid()
    return [
        (one.prompt, probability, one.row.ratings[CORRECT])
        for one, probability in zip(scored, probabilities.tolist(), strict=True)
    ]


def probability_bin(probability: float) -> int:
    """The bin of a probability: BINS of equal width from 0 to 1."""
    return min(int(probability * BINS), BINS - 1)


def error_by_chance(cases: Sequence[Case], *, seed: int = 0) -> Estimate | None:
    """The calibration error if the labels were drawn from the probabilities: mean, central 95%."""
    prompts = {prompt for prompt, _, _ in cases}
    if len(prompts) < 2:
        return None
    rng = np.random.default_rng(seed)
    sums = np.zeros((RESAMPLES, BINS, 3))
    for _, probability, _ in cases:
        drawn = rng.random(RESAMPLES) < probability
        sums[:, probability_bin(probability)] += np.stack(
            [np.ones(RESAMPLES), np.full(RESAMPLES, probability), drawn], axis=1
        )
    draws = error_of(sums)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(value=float(draws.mean()), low=float(low), high=float(high), n=len(prompts))


def _auc(scored: Sequence[ScoredResponse], values: Sequence[float]) -> Estimate | None:
    numbers: dict[str, int] = {}
    groups = [numbers.setdefault(one.prompt, len(numbers)) for one in scored]
    correct = torch.tensor([one.row.ratings[CORRECT] > 0.5 for one in scored], dtype=torch.bool)
    value, low, high, freedom = auc_with_freedom(
        torch.tensor(values), correct, torch.tensor(groups)
    )
    if math.isnan(value) or len(numbers) < 2:
        return None
    return Estimate(
        value=value, low=low, high=high, n=len(numbers), num_answers=len(scored), freedom=freedom
    )


def _brier_ratio(cases: Sequence[Case], rate: float) -> Estimate | None:
    """Brier score over that of the constant `rate`, by prompt; 1 is no better than it."""
    tops: dict[str, float] = defaultdict(float)
    bottoms: dict[str, float] = defaultdict(float)
    for prompt, probability, correct in cases:
        tops[prompt] += (probability - correct) ** 2
        bottoms[prompt] += (rate - correct) ** 2
    if len(tops) < 2 or not 0 < rate < 1:
        return None
    return ratio(list(tops.values()), list(bottoms.values()))


def _has_all(one: ScoredResponse, axes: Sequence[Axis]) -> bool:
    """Whether the response has the ratings of all axes with a weight."""
    return all(axis.name in one.row.ratings for axis in axes if axis.weight)


def _weighted(one: ScoredResponse, axes: Sequence[Axis]) -> float:
    """The weighted sum of the response's ratings, each in standard deviations from its mean."""
    return sum(
        axis.weight * (one.row.ratings[axis.name] - axis.mean) / axis.std
        for axis in axes
        if axis.weight
    )


def _weighted_sums(scored: Sequence[ScoredResponse], axes: Sequence[Axis]) -> list[Case]:
    complete = [one for one in scored if _has_all(one, axes)]
    return [(one.prompt, one.score, _weighted(one, axes)) for one in complete]


def _fisher_z(sums: np.ndarray) -> float | None:
    """atanh(r) of (n, Σx, Σy, Σx², Σy², Σxy); None if x or y is constant."""
    n, x, y, xx, yy, xy = sums.tolist()
    if n < 2:
        return None
    spread_x, spread_y = xx - x * x / n, yy - y * y / n
    if spread_x <= 1e-12 * xx or spread_y <= 1e-12 * yy:
        return None
    r = (xy - x * y / n) / math.sqrt(spread_x * spread_y)
    return math.atanh(max(min(r, 1 - 1e-12), 1e-12 - 1))
