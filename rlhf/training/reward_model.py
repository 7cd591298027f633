"""Reward-model training: K-wise ranking loss, a loop on accelerate that resumes exactly.

The loop is this project's own instead of transformers.Trainer: one batch element is a prompt with
all its answers, of any number, and the loss is a mean over the global batch's prompts, so that
neither processes nor accumulation change the gradient.
"""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from accelerate import Accelerator
from peft import PeftModel
from torch import Tensor, nn
from tqdm import tqdm  # type: ignore[import-untyped]
from transformers import PreTrainedModel

from rlhf.errors import TrainingError
from rlhf.launch import SigtermFlag, Stopped
from rlhf.models.config import ModelConfig, use_bf16
from rlhf.models.scorer import Scorer, as_batch
from rlhf.ops.ranking import ranking_loss
from rlhf.run_folder import RunConfig
from rlhf.training.metrics import MetricsWriter
from rlhf.training.ranges import check_ranges
from rlhf.training.reward_checkpoint import load_state, save_state, state_of
from rlhf.training.reward_health import Health, TokenRanking, flatten, measure


@dataclass(frozen=True, kw_only=True)
class RewardModelConfig:
    """Keys of reward-model training beside those that all training recipes share."""

    normalization_data: str | None = field(
        default=None,
        metadata={"help": "Demonstrations; the reward's mean on them becomes 0."},
    )
    learning_rate: float = field(default=1e-5, metadata={"help": "Peak learning rate."})
    num_train_epochs: float = field(default=1.0, metadata={"help": "Passes over the prompts."})
    max_steps: int | None = field(
        default=None, metadata={"help": "Optimizer steps; goes over num_train_epochs."}
    )
    per_device_train_batch_size: int = field(
        default=8, metadata={"help": "Prompts, each with all its answers, read at once."}
    )
    gradient_accumulation_steps: int = field(
        default=1, metadata={"help": "Batches summed up to one optimizer step."}
    )
    ties: Literal["out", "half"] = field(
        default="out",
        metadata={"help": "Tied answers: out of the loss, or half a pair in each direction."},
    )
    warmup_ratio: float = field(default=0.05, metadata={"help": "Share of steps to warm up over."})
    weight_decay: float = field(default=0.01, metadata={"help": "AdamW's weight decay."})
    max_grad_norm: float = field(default=1.0, metadata={"help": "Gradients are clipped to this."})
    logging_steps: int = field(default=10, metadata={"help": "Steps between lines of metrics."})
    eval_steps: int = field(
        default=50, metadata={"help": "Steps between held-out accuracies; also before and after."}
    )
    save_steps: int = field(default=100, metadata={"help": "Steps between checkpoints."})
    save_total_limit: int = field(default=2, metadata={"help": "Checkpoints that are kept."})
    num_samples: int = field(
        default=16, metadata={"help": "Held-out rankings shown in samples/ with their rewards."}
    )

    def __post_init__(self) -> None:
        check_ranges(self)


def train_reward_model(
    model: PreTrainedModel | PeftModel,
    train: Sequence[TokenRanking],
    held_out: Sequence[TokenRanking],
    *,
    run: RunConfig,
    model_config: ModelConfig,
    config: RewardModelConfig,
    pad_token_id: int,
    data_sha256: str,
    resume: Path | None,
) -> int:
    """Train `model` in place; returns the number of optimizer steps of the whole run.

    Loss: the mean over the global batch's prompts of each prompt's mean over its pairs. Which
    prompts a step reads depends on the seed and the step alone, and dropout is 0: a resumed run
    takes exactly the steps that an uninterrupted one takes.

    Raises:
        TrainingError: a loss or gradient that is not finite, with the step and its prompts.
        CheckpointError: `resume` belongs to other data or another batch size.
        Stopped: SIGTERM came; a checkpoint of this step was written.
    """
    folder, sigterm = Path(run.output_dir), SigtermFlag()
    accelerator = Accelerator(cpu=not torch.accelerator.is_available(), mixed_precision="no")
    world, rank = accelerator.num_processes, accelerator.process_index
    share = config.per_device_train_batch_size * config.gradient_accumulation_steps
    batch_size = share * world
    total = num_steps(config, len(train), batch_size)
    scorer = Scorer(model, bf16=use_bf16(model_config)).to(accelerator.device)
    optimizer = make_optimizer(scorer, config)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: rate(step, total=total, warmup_ratio=config.warmup_ratio)
    )
    identity = {"batch_size": batch_size, "total": total, "data_sha256": data_sha256}
    first = load_state(resume, scorer, optimizer, schedule, identity) if resume else 0
    wrapped = accelerator.prepare_model(scorer)
    metrics = MetricsWriter(folder, run.report_to)
    health = None
    if held_out and first == 0:
        health = measure(scorer, held_out, pad_token_id)
        metrics.write(0, health.metrics())

    wrapped.train()
    losses: list[float] = []
    bar = tqdm(total=total, initial=first, disable=None if rank == 0 else True)
    for step in range(first, total):
        rows = batch_rows(step, len(train), batch_size, run.seed)[rank * share :][:share]
        loss = torch.zeros((), device=accelerator.device)
        for start in range(0, share, config.per_device_train_batch_size):
            batch = [train[row] for row in rows[start:][: config.per_device_train_batch_size]]
            last = start + config.per_device_train_batch_size >= share
            with nullcontext() if last else accelerator.no_sync(wrapped):
                part = batch_loss(wrapped, batch, pad_token_id, ties=config.ties) / batch_size
                # DDP averages gradients over ranks; times `world` makes that their sum.
                (part * world).backward()
            loss += part.detach()
        mean_loss = float(accelerator.reduce(loss, "sum"))
        norm = float(nn.utils.clip_grad_norm_(scorer.parameters(), config.max_grad_norm))
        if not (math.isfinite(mean_loss) and math.isfinite(norm)):
            raise TrainingError(_not_finite(step + 1, mean_loss, norm, [train[r] for r in rows]))
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()

        done = step + 1
        losses.append(mean_loss)
        bar.update()
        if done == 1 or done % config.logging_steps == 0 or done == total:
            values = {"loss": sum(losses) / len(losses), "grad_norm": norm}
            metrics.write(done, values | {"learning_rate": float(schedule.get_last_lr()[0])})
            losses = []
        if held_out and (done % config.eval_steps == 0 or done == total):
            health = measure(scorer, held_out, pad_token_id)
            metrics.write(done, health.metrics())
            if rank == 0:
                tqdm.write(f"step {done}/{total}: {_in_words(health)}")
        stop = _on_any_process(accelerator, bool(sigterm))
        if done % config.save_steps == 0 or done == total or stop:
            if rank == 0:
                state = state_of(scorer, optimizer, schedule, done, identity)
                save_state(folder, state, keep=config.save_total_limit)
            accelerator.wait_for_everyone()
        if stop and done < total:
            raise Stopped(f"stopped by SIGTERM; {folder} holds checkpoint-{done} to resume from.")
    bar.close()
    return total


def batch_loss(
    scorer: nn.Module, batch: Sequence[TokenRanking], pad_token_id: int, *, ties: str
) -> Tensor:
    """Sum over the batch's prompts of their ranking losses; one forward for all answers."""
    device = next(scorer.parameters()).device
    ids, ranks, groups = flatten(batch)
    scores = scorer(*as_batch(ids, pad_token_id, device))
    weight = 0.5 if ties == "half" else 0.0
    return ranking_loss(scores, ranks.to(device), groups.to(device), tie_weight=weight).sum()


def batch_rows(step: int, num_rows: int, batch_size: int, seed: int) -> list[int]:
    """The rows of optimizer step `step` (from 0), over all processes.

    Epochs follow each other without a seam: each is a permutation of its own, and a batch that
    an epoch cannot fill goes on in the next.
    """
    places = range(step * batch_size, (step + 1) * batch_size)
    orders = {
        epoch: _permutation(num_rows, seed, epoch) for epoch in {p // num_rows for p in places}
    }
    return [orders[place // num_rows][place % num_rows] for place in places]


def num_steps(config: RewardModelConfig, num_rows: int, batch_size: int) -> int:
    """Optimizer steps of the run; a last batch that is not full counts as a step."""
    if config.max_steps is not None:
        return config.max_steps
    return max(1, math.ceil(config.num_train_epochs * num_rows / batch_size))


def rate(step: int, *, total: int, warmup_ratio: float) -> float:
    """Share of the peak learning rate: up over the first steps, then down to 0, both linearly."""
    warmup = math.ceil(total * warmup_ratio)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return (total - step) / max(1, total - warmup)


def make_optimizer(scorer: nn.Module, config: RewardModelConfig) -> torch.optim.AdamW:
    """AdamW over what is trained; no weight decay on norms and biases."""
    trained = [p for p in scorer.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.learning_rate)


def _permutation(num_rows: int, seed: int, epoch: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order: list[int] = torch.randperm(num_rows, generator=generator).tolist()
    return order


def _on_any_process(accelerator: Accelerator, flag: bool) -> bool:
    """Whether `flag` is set on any rank: all of them have to stop at the same step."""
    return bool(accelerator.reduce(torch.tensor(float(flag), device=accelerator.device), "sum"))


def _not_finite(step: int, loss: float, norm: float, rows: Sequence[TokenRanking]) -> str:
    prompts = ", ".join(repr(str(row.prompt)[:60]) for row in rows[:3])
    return (
        f"step {step}: loss {loss:.4g}, gradient norm {norm:.4g}; the step was not taken and the "
        f"checkpoints are whole. Its prompts begin with {prompts}. Lower learning_rate or try "
        "--bf16 false."
    )


def _in_words(health: Health) -> str:
    return f"held-out loss {health.loss:.4f}, accuracy {health.accuracy:.3f}"
