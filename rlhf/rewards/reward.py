"""The reward of a run: reward models and functions, weighted and added up, breakdown kept."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from rlhf.errors import ConfigError, TrainingError
from rlhf.rewards.ensemble import (
    UNCERTAINTY_COEF,
    Aggregation,
    aggregate,
    check_ensemble,
)
from rlhf.rewards.function import RewardFunction, call_function, is_function, load_function
from rlhf.rewards.model import RewardModel
from rlhf.types import Prompt, Scores

Normalization = Literal["none", "mean", "mean_std"]
OnError = Literal["stop", "skip"]
_WEIGHTED = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\*(.+)")
SHOWN = 3  # prompts named in an error


@dataclass(frozen=True, kw_only=True)
class RewardSource:
    """One summand: weight * (value - shift) / divisor."""

    name: str
    weight: float
    scorer: RewardModel | RewardFunction
    shift: float = 0.0
    divisor: float = 1.0

    @property
    def scale(self) -> float:
        """What the raw value is multiplied with in the end."""
        return self.weight / self.divisor


class Reward:
    """Scores answers with every source and adds them up.

    on_error: `stop` raises for an answer that a source gives no finite number for; `skip` leaves
    that answer without a score and says why in `Scores.failures`.
    aggregation: `sum` adds reward models up like any source, each the mean of its heads.
    Otherwise all of them, and all their heads, are the members of one ensemble, which counts as
    one source: see rlhf/rewards/ensemble.py.
    """

    def __init__(
        self,
        sources: Sequence[RewardSource],
        *,
        on_error: OnError = "stop",
        aggregation: Aggregation = "sum",
        uncertainty_coef: float = UNCERTAINTY_COEF,
    ) -> None:
        self.sources = tuple(sources)
        self.on_error = on_error
        self.aggregation = aggregation
        self.uncertainty_coef = uncertainty_coef

    def score(
        self,
        prompts: Sequence[Prompt],
        responses: Sequence[str],
        columns: Sequence[Mapping[str, Any]] | None = None,
    ) -> Scores:
        """One score an answer; the breakdown holds each source's value before its weight.

        Raises:
            TrainingError: a source raised, or gave None, a number that is not finite, or
                another count of numbers; with the prompts it gave them for.
        """
        columns = [{} for _ in prompts] if columns is None else columns
        total = torch.zeros(len(prompts))
        breakdown, failures = {}, [""] * len(prompts)
        members = []
        for source in self.sources:
            if self.aggregation != "sum" and isinstance(source.scorer, RewardModel):
                members.append(_head_values(source, source.scorer, prompts, responses))
                breakdown[source.name] = members[-1].mean(dim=1)
                continue
            if self.on_error == "stop":
                found = _values(source, prompts, responses, columns)
            else:
                found = _values_or_failures(source, prompts, responses, columns, failures)
            values = torch.tensor(found)
            normalized = (values - source.shift) / source.divisor
            breakdown[source.name] = normalized
            total = total + source.weight * normalized
        if members:
            total = total + aggregate(
                torch.cat(members, dim=1),
                self.aggregation,
                uncertainty_coef=self.uncertainty_coef,
            )
        return Scores(scores=total, breakdown=breakdown, failures=failures)


def split_weight(source: str) -> tuple[float, str]:
    """(weight, source) of `WEIGHT*SOURCE`; the weight is 1.0 where none is written."""
    match = _WEIGHTED.fullmatch(source)
    return (float(match.group(1)), match.group(2)) if match else (1.0, source)


def load_reward(
    sources: Sequence[str],
    *,
    normalize: Normalization = "mean_std",
    on_error: OnError = "stop",
    aggregation: Aggregation = "sum",
    uncertainty_coef: float = UNCERTAINTY_COEF,
    chat_template: str = "auto",
    device: torch.device | str = "cpu",
    bf16: bool = False,
) -> Reward:
    """The weighted sum of `sources`: folders, hub ids, `file.py:function`, `WEIGHT*SOURCE`.

    A reward model's raw logit is shifted by its mean on demonstrations (so that their mean is
    0) and, with `mean_std`, divided by its std. Functions are taken as they are.

    Raises:
        ConfigError: no source, the same one twice, a function that does not load, an ensemble of
            fewer than two members or with weights.
        CheckpointError: a folder or id that is no reward model.
    """
    weighted = [split_weight(source) for source in sources]
    names = [name for _, name in weighted]
    if not names or len(set(names)) < len(names):
        raise ConfigError(
            f"reward={list(sources)} names {'a source twice' if names else 'nothing'}; "
            "give each reward model or file.py:function once."
        )
    functions = {name: load_function(name) for name in names if is_function(name)}
    loaded: list[RewardSource] = []
    for weight, name in weighted:
        if name in functions:
            loaded.append(RewardSource(name=name, weight=weight, scorer=functions[name]))
            continue
        model = RewardModel(name, chat_template=chat_template, device=device, bf16=bf16)
        loaded.append(
            RewardSource(
                name=name,
                weight=weight,
                scorer=model,
                shift=model.mean if normalize != "none" else 0.0,
                divisor=model.std if normalize == "mean_std" else 1.0,
            )
        )
    if aggregation != "sum":
        models = [
            (one.name, one.weight, one.scorer.num_heads)
            for one in loaded
            if isinstance(one.scorer, RewardModel)
        ]
        check_ensemble(aggregation, models)
    return Reward(
        loaded, on_error=on_error, aggregation=aggregation, uncertainty_coef=uncertainty_coef
    )


def _head_values(
    source: RewardSource,
    model: RewardModel,
    prompts: Sequence[Prompt],
    responses: Sequence[str],
) -> Tensor:
    """float [B, heads], normalised."""
    values = model.score_heads(prompts, responses)
    bad = (~values.isfinite().all(dim=1)).nonzero()[:, 0].tolist()
    if bad:
        raise TrainingError(
            f"reward {source.name} gave a number that is not finite for {len(bad)} of "
            f"{len(prompts)} answers; {_shown(prompts, bad)}"
        )
    return (values - source.shift) / source.divisor


def _values(
    source: RewardSource,
    prompts: Sequence[Prompt],
    responses: Sequence[str],
    columns: Sequence[Mapping[str, Any]],
) -> list[float]:
    try:
        if isinstance(source.scorer, RewardModel):
            values: Any = source.scorer.score(prompts, responses)
        else:
            values = call_function(source.scorer, prompts, responses, columns)
    except Exception as error:
        raise TrainingError(
            f"reward {source.name} raised {type(error).__name__}: {error}; "
            f"{_shown(prompts, range(len(prompts)))}"
        ) from error
    if not hasattr(values, "__len__") or len(values) != len(prompts):
        count = len(values) if hasattr(values, "__len__") else type(values).__name__
        raise TrainingError(
            f"reward {source.name} returned {count} for {len(prompts)} answers, one number each "
            f"is needed; {_shown(prompts, range(len(prompts)))}"
        )
    bad = [index for index, value in enumerate(values) if not _is_finite(value)]
    if bad:
        raise TrainingError(
            f"reward {source.name} returned {values[bad[0]]!r}, which is no finite number, for "
            f"{len(bad)} of {len(prompts)} answers; {_shown(prompts, bad)}"
        )
    return [float(value) for value in values]


def _values_or_failures(
    source: RewardSource,
    prompts: Sequence[Prompt],
    responses: Sequence[str],
    columns: Sequence[Mapping[str, Any]],
    failures: list[str],
) -> list[float]:
    """As `_values`, with NaN where there is no usable number; the reason goes into `failures`.

    One bad answer makes a function fail for the whole batch: each is then scored alone.
    """
    try:
        return _values(source, prompts, responses, columns)
    except TrainingError:
        values = []
        for row in range(len(prompts)):
            one = slice(row, row + 1)
            try:
                values += _values(source, prompts[one], responses[one], columns[one])
            except TrainingError as error:
                failures[row] = failures[row] or str(error)
                values.append(math.nan)
        return values


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def _shown(prompts: Sequence[Prompt], indices: Sequence[int]) -> str:
    texts = [repr(prompts[index])[:120] for index in indices[:SHOWN]]
    more = len(indices) - len(texts)
    return "prompts: " + ", ".join(texts) + (f" and {more} more" if more else "")
