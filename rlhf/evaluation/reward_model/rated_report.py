"""The health report on a reward model of verdicts or of ratings by axis."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.evaluation.reward_model.best_of_n import best_of_n
from rlhf.evaluation.reward_model.calibration import reliability_of
from rlhf.evaluation.reward_model.metrics import reward_metrics
from rlhf.evaluation.reward_model.probes import probe
from rlhf.evaluation.reward_model.rated import (
    ScoredResponse,
    axis_metrics,
    outcome_metrics,
    probability_bin,
    probability_cases,
    reward_rankings,
)
from rlhf.evaluation.reward_model.rated_gate import judge_axes, judge_verifier
from rlhf.evaluation.reward_model.report import RewardReport, results_of
from rlhf.evaluation.reward_model.scored_rankings import (
    ScoringModel,
    Text,
    lengths_of,
    score_heads,
)
from rlhf.models.axes import Axis
from rlhf.types import Demonstration, Prompt, RatedResponse, Tools


class AxisModel(ScoringModel, Protocol):
    """What a report needs of a reward model with axes; see `RewardModel`."""

    axes: list[Axis]

    def score_axes(
        self,
        prompts: Sequence[Prompt],
        responses: Sequence[str],
        tools: Sequence[Tools] | None = None,
    ) -> Tensor: ...


@dataclass
class _Axes:
    """A model whose heads are the axes, to be scored like any other."""

    model: AxisModel
    chat: ChatTokenizer
    mean: float = 0.0
    std: float = 1.0

    def score_heads(
        self,
        prompts: Sequence[Prompt],
        responses: Sequence[str],
        tools: Sequence[Tools] | None = None,
    ) -> Tensor:
        return self.model.score_axes(prompts, responses, tools)


def make_rated_report(
    model: AxisModel,
    rows: Sequence[RatedResponse],
    demonstrations: Sequence[Demonstration],
    *,
    is_outcome: bool,
    name: str,
    num_demonstrations: int,
    seed: int,
    trained_on: int = 0,
) -> RewardReport:
    """The report on held-out responses. Call it on every process; it is complete on each.

    Where a prompt has several responses with different labels, they also form a ranking, which is
    measured as those of any reward model.

    Args:
        model: the reward model.
        rows: held-out responses.
        demonstrations: for the probes; can be empty.
        is_outcome: whether the labels are verdicts, whose probability the model predicts.
        name: of the model in the results.
        num_demonstrations: demonstrations to score.
        seed: for the draw of demonstrations and the shuffling.
        trained_on: number of responses with prompts that the model was trained on.
    """
    scored, axes = score_rated(model, rows), model.axes
    rankings = reward_rankings(scored, axes, is_outcome=is_outcome)
    own = outcome_metrics(scored, name) if is_outcome else axis_metrics(scored, axes, name)
    probes = probe(model, demonstrations, count=num_demonstrations, seed=seed)
    results = [
        *own,
        *reward_metrics(rankings, name, are_logits=False),
        *results_of(probes, name),
    ]
    curve = best_of_n(rankings, mean=model.mean, std=model.std)
    if is_outcome:
        gate = judge_verifier(results, curve, trained_on=trained_on)
    else:
        weights = {axis.name: axis.weight for axis in axes}
        gate = judge_axes(results, weights, curve, trained_on=trained_on)
    bins = reliability_of(probability_cases(scored), probability_bin) if is_outcome else []
    return RewardReport(results=results, reliability=bins, best_of_n=curve, gate=gate)


def score_rated(model: AxisModel, rows: Sequence[RatedResponse]) -> list[ScoredResponse]:
    """Every response with its scores; complete on every process. Call it on all of them."""
    texts: list[Text] = [(row.prompt, row.completion, row.tools) for row in rows]
    outputs = score_heads(_Axes(model, model.chat), texts)
    return [
        ScoredResponse(
            row=row,
            score=sum(axis.weight * each for axis, each in zip(model.axes, heads, strict=True)),
            axes=heads,
            length=length,
        )
        for row, heads, length in zip(rows, outputs, lengths_of(model, texts), strict=True)
    ]
