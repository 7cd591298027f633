"""Reward-model training: K-wise ranking loss, a loop on accelerate that resumes exactly.

The loop is this project's own instead of transformers.Trainer: one batch element is a prompt with
all its answers, of any number, and the loss is a mean over the global batch's prompts, so that
neither processes nor accumulation change the gradient.
"""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

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
from rlhf.training.reward_checkpoint import load_state, save_state, state_of
from rlhf.training.reward_config import RewardModelConfig
from rlhf.training.reward_health import TokenRanking, flatten, measure
from rlhf.training.reward_schedule import batch_rows, make_optimizer, num_steps, rate


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
    trainer = _Trainer(
        Scorer(model, bf16=use_bf16(model_config)),
        train,
        held_out,
        run=run,
        config=config,
        pad_token_id=pad_token_id,
        data_sha256=data_sha256,
    )
    if resume is not None:
        trainer.restore(resume)
    return trainer.train()


class _Trainer:
    """What a run holds from step to step."""

    def __init__(
        self,
        scorer: Scorer,
        train: Sequence[TokenRanking],
        held_out: Sequence[TokenRanking],
        *,
        run: RunConfig,
        config: RewardModelConfig,
        pad_token_id: int,
        data_sha256: str,
    ) -> None:
        self.accelerator = Accelerator(
            cpu=not torch.accelerator.is_available(), mixed_precision="no"
        )
        self.rows, self.held_out = train, held_out
        self.run, self.config, self.pad_token_id = run, config, pad_token_id
        self.share = config.per_device_train_batch_size * config.gradient_accumulation_steps
        self.batch_size = self.share * self.accelerator.num_processes
        self.total = num_steps(config, len(train), self.batch_size)
        self.done = 0  # steps taken
        self.losses: list[float] = []  # of the steps since the last logged one
        self.scorer = scorer.to(self.accelerator.device)
        self.optimizer = make_optimizer(scorer, config)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda step: rate(step, total=self.total, warmup_ratio=config.warmup_ratio),
        )
        # A checkpoint of a run with another one of these would not take the steps of this one.
        self.identity = {
            "batch_size": self.batch_size,
            "total": self.total,
            "data_sha256": data_sha256,
        }
        self.wrapped = self.accelerator.prepare_model(self.scorer)
        self.metrics = MetricsWriter(Path(run.output_dir), run.report_to)
        self.sigterm = SigtermFlag()

    def restore(self, checkpoint: Path) -> None:
        """Go on from there."""
        self.done = load_state(
            checkpoint, self.scorer, self.optimizer, self.schedule, self.identity
        )

    def train(self) -> int:
        """Step after step to the last; their number."""
        self.wrapped.train()
        if self.done == 0:
            self.measure()
        on_screen = self.accelerator.is_main_process
        with tqdm(total=self.total, initial=self.done, disable=None if on_screen else True) as bar:
            while self.done < self.total:
                loss, norm = self.step()
                bar.update()
                self.log(loss, norm)
                if self.due(self.config.eval_steps):
                    self.measure()
                self.save()
        return self.total

    def step(self) -> tuple[float, float]:
        """One optimizer step over the global batch; its loss and the norm of its gradient."""
        batch = self.next_batch()
        loss = self.accumulate(batch)
        norm = float(nn.utils.clip_grad_norm_(self.scorer.parameters(), self.config.max_grad_norm))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingError(_not_finite(self.done + 1, loss, norm, batch))
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        self.done += 1
        return loss, norm

    def next_batch(self) -> list[TokenRanking]:
        """This process's share of the rows of the next step."""
        rows = batch_rows(self.done, len(self.rows), self.batch_size, self.run.seed)
        first = self.accelerator.process_index * self.share
        return [self.rows[row] for row in rows[first:][: self.share]]

    def accumulate(self, batch: Sequence[TokenRanking]) -> float:
        """Leave the gradient of the global batch on the model; the mean loss over its prompts."""
        size, world = self.config.per_device_train_batch_size, self.accelerator.num_processes
        loss = torch.zeros((), device=self.accelerator.device)
        for start in range(0, self.share, size):
            last = start + size >= self.share
            with nullcontext() if last else self.accelerator.no_sync(self.wrapped):
                rows, ties = batch[start:][:size], self.config.ties
                part = batch_loss(self.wrapped, rows, self.pad_token_id, ties=ties)
                part = part / self.batch_size
                # DDP averages gradients over ranks; times `world` makes that their sum.
                (part * world).backward()
            loss += part.detach()
        return float(self.accelerator.reduce(loss, "sum"))

    def due(self, every: int) -> bool:
        """Whether what comes every so many steps, and after the last, comes now."""
        return self.done % every == 0 or self.done == self.total

    def log(self, loss: float, norm: float) -> None:
        """A line of metrics: the mean loss since the last one."""
        self.losses.append(loss)
        if self.done == 1 or self.due(self.config.logging_steps):
            mean = sum(self.losses) / len(self.losses)
            values = {"loss": mean, "grad_norm": norm}
            self.metrics.write(
                self.done, values | {"learning_rate": float(self.schedule.get_last_lr()[0])}
            )
            self.losses = []

    def measure(self) -> None:
        """Held-out loss and accuracy, where rankings were held out."""
        if not self.held_out:
            return
        health = measure(self.scorer, self.held_out, self.pad_token_id)
        self.metrics.write(self.done, health.metrics())
        if self.accelerator.is_main_process and self.done > 0:
            words = f"held-out loss {health.loss:.4f}, accuracy {health.accuracy:.3f}"
            tqdm.write(f"step {self.done}/{self.total}: {words}")

    def save(self) -> None:
        """A checkpoint where one is due or SIGTERM came, which ends the run after it.

        Raises:
            Stopped: the run is not at its end and has to stop.
        """
        folder = Path(self.run.output_dir)
        stop = self.sigterm.on_any_process()
        if self.due(self.config.save_steps) or stop:
            if self.accelerator.is_main_process:
                state = state_of(
                    self.scorer, self.optimizer, self.schedule, self.done, self.identity
                )
                save_state(folder, state, keep=self.config.save_total_limit)
            self.accelerator.wait_for_everyone()
        if stop and self.done < self.total:
            at = f"checkpoint-{self.done}"
            raise Stopped(f"stopped by SIGTERM; {folder} holds {at} to resume from.")


def batch_loss(
    scorer: nn.Module, batch: Sequence[TokenRanking], pad_token_id: int, *, ties: str
) -> Tensor:
    """Sum over the batch's prompts of their ranking losses; one forward for all answers."""
    device = next(scorer.parameters()).device
    ids, ranks, groups = flatten(batch)
    scores = scorer(*as_batch(ids, pad_token_id, device))
    weight = 0.5 if ties == "half" else 0.0
    return ranking_loss(scores, ranks.to(device), groups.to(device), tie_weight=weight).sum()


def _not_finite(step: int, loss: float, norm: float, rows: Sequence[TokenRanking]) -> str:
    prompts = ", ".join(repr(str(row.prompt)[:60]) for row in rows[:3])
    return (
        f"step {step}: loss {loss:.4g}, gradient norm {norm:.4g}; the step was not taken and the "
        f"checkpoints are whole. Its prompts begin with {prompts}. Lower learning_rate or try "
        "--bf16 false."
    )
