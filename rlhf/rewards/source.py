"""One source of a reward, a model or a function with its weight, and its values of responses."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence, Set, Sized
from dataclasses import dataclass
from typing import TypeVar, cast

from torch import Tensor

from rlhf.errors import TrainingError
from rlhf.rewards.concurrent import NOT_CALLED, AsyncScorer, Outcome
from rlhf.rewards.function import RewardFunction, call_function
from rlhf.rewards.model import RewardModel
from rlhf.rewards.number import number_of
from rlhf.runtime.printing import counted
from rlhf.types import Prompt, Tools, tools_in

NUM_NAMED = 3  # prompts named in an error
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class RewardSource:
    """One summand: weight * (value - shift) / divisor, or weight * σ(value)."""

    name: str
    weight: float
    scorer: RewardModel | RewardFunction | AsyncScorer
    shift: float = 0.0
    divisor: float = 1.0
    is_probability: bool = False  # the value is the logit of a probability

    def normalized(self, values: Tensor) -> Tensor:
        """The values, shifted and divided, or as probabilities."""
        return values.sigmoid() if self.is_probability else (values - self.shift) / self.divisor

    @property
    def path(self) -> str | None:
        """The reward model's folder or hub id, whatever its label; None for a function."""
        return self.scorer.path if isinstance(self.scorer, RewardModel) else None

    @property
    def scale(self) -> float:
        """The factor of the raw value in the score; of a probability its slope at ½."""
        return self.weight / (4.0 if self.is_probability else self.divisor)

    @property
    def zero(self) -> float:
        """The raw value that scores 0; of a probability on its tangent at ½."""
        return -2.0 if self.is_probability else self.shift


def values_of(
    source: RewardSource,
    prompts: Sequence[Prompt],
    responses: Sequence[str],
    columns: Sequence[Mapping[str, object]],
) -> list[float]:
    """A finite number for each response, before weight and normalisation.

    Raises:
        TrainingError: the source raised or returned something else; the message names prompts.
    """
    values = _raw_values(source, prompts, responses, columns)
    numbers = [number_of(value) for value in values]
    bad = [index for index, number in enumerate(numbers) if not math.isfinite(number)]
    if bad:
        raise TrainingError(_unusable(source, values[bad[0]], prompts, bad), code="no-reward")
    return numbers


def values_or_failures(
    source: RewardSource,
    prompts: Sequence[Prompt],
    responses: Sequence[str],
    columns: Sequence[Mapping[str, object]],
    failures: list[str],
) -> list[float]:
    """As `values_of`, with NaN where there is no usable number; the reason goes into `failures`.

    A function that raises, or returns another count, does not tell which response was at fault:
    each is then scored alone.
    """
    values: list[object] = []
    reasons = {}
    try:
        values += _raw_values(source, prompts, responses, columns)
    except TrainingError:
        for row in range(len(prompts)):
            one = slice(row, row + 1)
            try:
                values += _raw_values(source, prompts[one], responses[one], columns[one])
            except TrainingError as error:
                reasons[row] = str(error)
                values.append(math.nan)
    numbers = [number_of(value) for value in values]
    for row, number in enumerate(numbers):
        if not math.isfinite(number):
            reason = reasons.get(row) or _unusable(source, values[row], prompts, [row])
            failures[row] = failures[row] or reason
    return [number if math.isfinite(number) else math.nan for number in numbers]


def values_of_outcomes(
    source: RewardSource,
    outcomes: Sequence[Outcome],
    prompts: Sequence[Prompt],
    failures: list[str] | None,
) -> list[float]:
    """The numbers of a source that was called; NaN where there is none.

    Args:
        source: which was called.
        outcomes: B, of its calls.
        prompts: B.
        failures: takes the reason for each row without a finite number; None to raise.

    Raises:
        TrainingError: a response has no finite number and `failures` is None.
    """
    numbers = [math.nan if reason else number_of(value) for value, reason in outcomes]
    bad = [row for row, number in enumerate(numbers) if not math.isfinite(number)]
    reasons = {row: _reason(source, outcomes[row], prompts, row) for row in bad}
    first = next((row for row in bad if outcomes[row][1] != NOT_CALLED), None)
    if first is not None and failures is None:
        raise TrainingError(reasons[first], code="no-reward")
    if failures is not None:
        for row in bad:
            failures[row] = failures[row] or reasons[row]
    return [number if math.isfinite(number) else math.nan for number in numbers]


def _reason(source: RewardSource, outcome: Outcome, prompts: Sequence[Prompt], row: int) -> str:
    value, reason = outcome
    if not reason:
        return _unusable(source, value, prompts, [row])
    return (
        f"reward {source.name} gave no score: {reason.rstrip('.')}; {_preview(prompts, [row])}. "
        f"{_next_step(source)}"
    )


def heads_of(
    source: RewardSource,
    model: RewardModel,
    prompts: Sequence[Prompt],
    responses: Sequence[str],
    columns: Sequence[Mapping[str, object]],
    failures: list[str] | None,
) -> Tensor:
    """Every head's value, normalised, float [B, heads].

    Args:
        source: name, shift and divisor.
        model: its reward model.
        prompts: B.
        responses: B, one for each prompt.
        columns: B, the other columns of each row.
        failures: takes the reason for each row with a value that is not finite; None to raise.

    Raises:
        TrainingError: the model raised, or a value is not finite and `failures` is None.
    """
    values = _call(source, lambda: model.score_heads(prompts, responses, _tools(columns)), prompts)
    bad = (~values.isfinite().all(dim=1)).nonzero()[:, 0].tolist()
    if bad and failures is None:
        raise TrainingError(_unusable(source, math.nan, prompts, bad), code="no-reward")
    if failures is not None:
        for row in bad:
            failures[row] = failures[row] or _unusable(source, math.nan, prompts, [row])
    return source.normalized(values)


def _tools(columns: Sequence[Mapping[str, object]]) -> list[Tools]:
    return [tools_in(row) for row in columns]


def _raw_values(
    source: RewardSource,
    prompts: Sequence[Prompt],
    responses: Sequence[str],
    columns: Sequence[Mapping[str, object]],
) -> list[object]:
    """The source's values, one per response, unchecked."""
    scorer = source.scorer
    assert not isinstance(scorer, AsyncScorer)
    if isinstance(scorer, RewardModel):
        values: object = _call(
            source, lambda: scorer.score(prompts, responses, _tools(columns)), prompts
        )
    else:
        values = _call(source, lambda: call_function(scorer, prompts, responses, columns), prompts)
    is_list = isinstance(values, Sized) and not isinstance(values, str | bytes | Set | Mapping)
    if not isinstance(values, Sized) or not is_list or len(values) != len(prompts):
        count = len(values) if isinstance(values, Sized) and is_list else type(values).__name__
        raise TrainingError(
            f"reward {source.name} returned {count} for {counted(len(prompts), 'response')}: "
            f"{_preview(prompts, range(len(prompts)))}. Return a list with one number for each "
            "response.",
            code="no-reward",
        )
    return list(cast(Iterable[object], values))


def _call(source: RewardSource, score: Callable[[], T], prompts: Sequence[Prompt]) -> T:
    try:
        return score()
    except Exception as error:
        raise TrainingError(
            f"reward {source.name} raised {type(error).__name__}: {error}; "
            f"{_preview(prompts, range(len(prompts)))}. {_next_step(source)}",
            code="no-reward",
        ) from error


def _unusable(
    source: RewardSource, value: object, prompts: Sequence[Prompt], bad: Sequence[int]
) -> str:
    return (
        f"reward {source.name} returned {value!r}, which is not a finite number, for "
        f"{len(bad)} of {counted(len(prompts), 'response')}; {_preview(prompts, bad)}. "
        f"{_next_step(source)}"
    )


def _next_step(source: RewardSource) -> str:
    if isinstance(source.scorer, RewardModel):
        return "Check the weights of the reward model and the texts that it scores."
    if isinstance(source.scorer, AsyncScorer):
        return (
            "Check the server, judge or function; reward_timeout and reward_retries set its limits."
        )
    return "Correct the function: it has to return one finite number for each response."


def _preview(prompts: Sequence[Prompt], indices: Sequence[int]) -> str:
    texts = [repr(prompts[index])[:120] for index in indices[:NUM_NAMED]]
    more = len(indices) - len(texts)
    return "prompts: " + ", ".join(texts) + (f" and {more} more" if more else "")
