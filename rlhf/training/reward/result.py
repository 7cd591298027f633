"""The result of a reward-model run, and the model folder that it leaves."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rlhf.manifest import MANIFEST
from rlhf.models.heads import Heads, merge_heads, save_heads
from rlhf.models.save import ADAPTER, save_reward_model
from rlhf.models.scorer import Scorer
from rlhf.training.common.metrics import MetricsLine
from rlhf.training.common.publish import publish
from rlhf.training.common.setup import RunSetup
from rlhf.training.reward.config import RewardModelConfig
from rlhf.training.reward.data import TokenRanking
from rlhf.training.reward.metrics import (
    NOT_NORMALIZED,
    Health,
    Normalization,
    measure,
    normalization,
    response_scores,
    summary,
)
from rlhf.training.reward.samples import write_ranked_samples
from rlhf.training.reward.scores import Scores
from rlhf.training.reward.setup import RewardSetup
from rlhf.types import Ranking, RatedResponse

AnySetup = RunSetup[Ranking, RewardModelConfig] | RunSetup[RatedResponse, RewardModelConfig]
"""A run that trains a reward model."""


@dataclass(frozen=True, kw_only=True, repr=False)
class RewardResult:
    """A finished run."""

    steps: int  # optimizer steps
    stopped_early: str  # the reason; empty where the run went to its end
    health: Health | None  # how the model orders held-out rankings; None where there are none
    normalization: Normalization  # mean and std of the raw logit on demonstrations
    metrics: Sequence[MetricsLine]  # the lines of metrics.jsonl

    def __repr__(self) -> str:
        lines = summary(self.steps, self.health, self.normalization, self.stopped_early)
        return f"RewardResult({', '.join(f'{name}: {text}' for name, text in lines.items())})"


@dataclass(frozen=True, kw_only=True)
class TrainedReward:
    """A trained reward model with one head, LoRA merged, and its measurements."""

    model: PreTrainedModel
    scorer: Scorer  # of `model`
    scores: Scores  # of the separate heads
    heads: Heads | None  # the heads of an ensemble, of which the model has the mean
    held_out_scores: Sequence[Tensor]  # of each held-out ranking, float [K] raw logits
    health: Health | None
    normalization: Normalization


def measure_and_merge(
    model: PreTrainedModel, scores: Scores, setup: RewardSetup, held_out: Sequence[TokenRanking]
) -> TrainedReward:
    """Measure `model` on held-out rankings and demonstrations; merge its heads in place.

    Call it on all processes.

    Args:
        model: the trained model, with LoRA merged.
        scores: of `model`; texts that it has are not read again.
        setup: the run.
        held_out: `setup.rows.held_out` as token ids.
    """
    health = measure(scores, held_out) if held_out else None
    held_out_scores = response_scores(scores, held_out) if held_out else []
    scale = NOT_NORMALIZED
    if setup.demonstrations:
        scale = normalization(scores, setup.chat, setup.demonstrations, seed=setup.run.seed)
    weight = merge_heads(model)
    heads = None
    if weight is not None:
        offsets = scale.offsets if scale.rows else [0.0] * len(weight)
        heads = Heads(weight=weight, offset=torch.tensor(offsets))
        scores.scorer = Scorer(model, bf16=setup.bf16, heads=weight)
    return TrainedReward(
        model=model,
        scorer=Scorer(model, bf16=False),
        scores=scores,
        heads=heads,
        held_out_scores=held_out_scores,
        health=health,
        normalization=scale,
    )


def write_reward_model(
    folder: Path, setup: RewardSetup, trained: TrainedReward, metrics: Mapping[str, str]
) -> None:
    """Write the model with model card and manifest; print a table of the metrics.

    The run folder gets samples/ as well. Call it on one process.
    """
    scale = trained.normalization
    remove_earlier_adapter(folder, setup)
    save_reward_model(folder, trained.model, setup.chat, scale.mean, scale.std)
    if trained.heads is not None:
        save_heads(folder, trained.heads)
    copy_adapter(folder, setup)
    if folder == setup.folder:
        write_ranked_samples(
            folder,
            setup.rows.held_out,
            trained.held_out_scores,
            scale,
            count=setup.config.num_samples,
            seed=setup.run.seed,
        )
    publish_reward_model(folder, setup, scale, metrics, samples="held-out rankings with rewards")


def remove_earlier_adapter(folder: Path, setup: AnySetup) -> None:
    """Remove the adapter that an earlier save left in a folder other than the run folder."""
    if folder != setup.folder and (folder / MANIFEST).is_file():
        shutil.rmtree(folder / ADAPTER, ignore_errors=True)


def copy_adapter(folder: Path, setup: AnySetup) -> None:
    """Copy the run's adapter, if any, to another folder."""
    adapter = setup.folder / ADAPTER
    if folder != setup.folder and adapter.is_dir():
        shutil.copytree(adapter, folder / ADAPTER, dirs_exist_ok=True)


def publish_reward_model(
    folder: Path,
    setup: AnySetup,
    scale: Normalization,
    metrics: Mapping[str, str],
    *,
    samples: str,
) -> None:
    """Write model card and manifest of a saved reward model; print a table of the metrics.

    Args:
        folder: the model's folder.
        setup: the run.
        scale: normalisation of the model.
        metrics: for people.
        samples: what the rows in samples/ are.
    """
    manifest = setup.manifest(folder, stage="reward_model")
    publish(
        folder,
        replace(manifest, reward_mean=scale.mean, reward_std=scale.std),
        title="reward model",
        metrics=metrics,
        loads_with="AutoModelForSequenceClassification",
        places={
            **({samples: folder / "samples"} if (folder / "samples").is_dir() else {}),
            "use it": f"rlhf ppo --reward {folder}",
        },
    )
