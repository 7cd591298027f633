"""The result of a run on verdicts or ratings, and the model folder that it leaves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rlhf.models.axes import merge_axes, save_axes, weights_of
from rlhf.models.save import save_reward_model
from rlhf.models.scorer import Scorer
from rlhf.training.common.metrics import MetricsLine
from rlhf.training.rating.data import TokenRating, labels_of
from rlhf.training.rating.loss import losses_of
from rlhf.training.rating.metrics import Health, measure, response_scores
from rlhf.training.rating.samples import write_rated_samples
from rlhf.training.rating.setup import RatingSetup
from rlhf.training.reward.metrics import NOT_NORMALIZED, Normalization, normalization
from rlhf.training.reward.result import copy_adapter, publish_reward_model, remove_earlier_adapter
from rlhf.training.reward.scores import Scores


@dataclass(frozen=True, kw_only=True, repr=False)
class RatingResult:
    """A finished run."""

    steps: int  # optimizer steps
    stopped_early: str  # the reason; empty where the run went to its end
    health: Health | None  # how the model predicts held-out labels; None where there are none
    normalization: Normalization  # mean and std of the raw logit on demonstrations
    metrics: Sequence[MetricsLine]  # the lines of metrics.jsonl

    def __repr__(self) -> str:
        lines = summary(self.steps, self.health, self.normalization, self.stopped_early)
        return f"RatingResult({', '.join(f'{name}: {text}' for name, text in lines.items())})"


@dataclass(frozen=True, kw_only=True)
class TrainedRating:
    """A trained reward model whose head is the weighted sum of its axes, and its measurements."""

    model: PreTrainedModel
    scorer: Scorer  # of `model`
    scores: Scores  # of the heads of the axes
    heads: Tensor  # float [A, D]
    held_out_scores: Tensor  # outputs of the heads for held-out responses, float [N, A]
    health: Health | None
    normalization: Normalization


def measure_and_merge(
    model: PreTrainedModel, scores: Scores, setup: RatingSetup, held_out: Sequence[TokenRating]
) -> TrainedRating:
    """Measure `model` on held-out responses and demonstrations; merge its heads in place.

    Call it on all processes.

    Args:
        model: the trained model, with LoRA merged.
        scores: of `model`; texts that it has are not read again.
        setup: the run.
        held_out: `setup.rows.held_out` as token ids.
    """
    axes, objective = setup.axes, setup.config.objective
    health = measure(scores, held_out, objective, axes) if held_out else None
    predicted = response_scores(scores, held_out) if held_out else torch.zeros(0, len(axes))
    scale = NOT_NORMALIZED
    if setup.demonstrations:
        scale = normalization(
            scores,
            setup.chat,
            setup.demonstrations,
            seed=setup.run.seed,
            weights=weights_of(axes),
        )
    heads = merge_axes(model, axes)
    scores.scorer = Scorer(model, bf16=setup.bf16, heads=heads)
    return TrainedRating(
        model=model,
        scorer=Scorer(model, bf16=False),
        scores=scores,
        heads=heads,
        held_out_scores=predicted,
        health=health,
        normalization=scale,
    )


def write_rating_model(
    folder: Path,
    setup: RatingSetup,
    trained: TrainedRating,
    held_out: Sequence[TokenRating],
    metrics: Mapping[str, str],
) -> None:
    """Write the model with model card and manifest; print a table of the metrics.

    The run folder gets samples/ as well. Call it on one process.
    """
    scale, is_outcome = trained.normalization, setup.config.objective == "outcome"
    remove_earlier_adapter(folder, setup)
    save_reward_model(
        folder,
        trained.model,
        setup.chat,
        scale.mean,
        scale.std,
        objective=setup.config.objective,
        axes=() if is_outcome else setup.axes,
    )
    if not is_outcome:
        save_axes(folder, trained.heads)
    copy_adapter(folder, setup)
    if folder == setup.folder and held_out:
        losses = losses_of(trained.held_out_scores, labels_of(held_out), setup.config.objective)
        write_rated_samples(
            folder,
            setup.rows.held_out,
            trained.held_out_scores,
            losses.sum(dim=1),
            setup.axes,
            is_outcome=is_outcome,
            count=setup.config.num_samples,
            seed=setup.run.seed,
        )
    publish_reward_model(folder, setup, scale, metrics, samples="held-out responses with rewards")


def summary(
    steps: int, health: Health | None, scale: Normalization, stopped_early: str
) -> dict[str, str]:
    """The run's metrics for people."""
    lines = {"optimizer steps": str(steps)}
    if health is not None:
        lines |= health.lines()
    if scale.rows:
        lines["raw reward of demonstrations"] = f"{scale.mean:.3f} ± {scale.std:.3f}, now 0 ± 1"
    return lines | ({"stopped early": stopped_early} if stopped_early else {})
