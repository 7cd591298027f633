"""The training loop of reward models and of preference optimization, which resumes exactly.

The loop is not transformers.Trainer's: a batch element is a prompt with all its responses and all
labels of them, each response is read once, and the loss is a weighted mean that neither the number
of processes nor accumulation changes. A checkpoint is complete or absent.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Generic

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm  # type: ignore[import-untyped]

from rlhf.errors import TrainingError
from rlhf.models.autocast import kept_casts
from rlhf.models.config import ModelConfig, step_keys
from rlhf.models.shard import full, whole
from rlhf.runtime.distributed import is_silenced, print_once
from rlhf.runtime.run_folder import RunConfig
from rlhf.runtime.signals import SigtermFlag, Stopped, whole_step
from rlhf.training.common.config import TrainingConfig
from rlhf.training.common.early_stopping import EarlyStopping, put_weights, trained_weights
from rlhf.training.common.loop_state import load_state, save_state, state_of
from rlhf.training.common.metrics import MetricsWriter
from rlhf.training.common.objective import Objective, Row
from rlhf.training.common.schedule import batch_rows, make_optimizer, num_steps, rate
from rlhf.training.common.weight_checks import (
    Movement,
    check_trainable,
    check_zero_norm,
    parts_of,
    wants_change,
)


class TrainingLoop(Generic[Row]):
    """The state of a run from step to step.

    Args:
        objective: what is trained.
        run: the run folder and the seed.
        model: keys of the model that change steps.
        config: keys of the training.
    """

    def __init__(
        self,
        objective: Objective[Row],
        run: RunConfig,
        model: ModelConfig,
        config: TrainingConfig,
    ) -> None:
        self.accelerator = Accelerator(
            cpu=not torch.accelerator.is_available(), mixed_precision="no"
        )
        self.objective, self.run, self.config = objective, run, config
        self.share = config.per_device_train_batch_size * config.gradient_accumulation_steps
        self.batch_size = self.share * self.accelerator.num_processes
        self.total = num_steps(config, len(objective.rows), self.batch_size)
        self.drops = model.lora_dropout > 0  # LoRA's inputs
        self.done = 0  # steps taken
        # Of the steps since the last logged one:
        self.losses: list[float] = []
        self.recent: dict[str, list[float]] = {}  # other metrics
        self.module = module = objective.module.to(self.accelerator.device)
        self.sharded = objective.shard(self.accelerator.device)
        self.movement = Movement(parts_of(objective.model))
        check_trainable(self.movement.parts, [objective.model])
        self.optimizer = make_optimizer(module, config)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda step: rate(step, total=self.total, warmup_ratio=config.warmup_ratio),
        )
        self.identity: dict[str, object] = {
            "seed": run.seed,
            "batch_size": self.batch_size,
            "total": self.total,
            **objective.identity(),
            **step_keys(model, config.optim),
        }
        self.stopper = EarlyStopping(
            config.early_stopping_patience, config.early_stopping_threshold
        )
        self.outputs: list[Tensor] = []  # of the step's forward passes
        self.module.register_forward_hook(self.keep_output)
        self.wrapped = self.sharded or self.accelerator.prepare_model(self.module)
        self.metrics = MetricsWriter(Path(run.output_dir), run.report_to)
        self.sigterm = SigtermFlag()

    def restore(self, checkpoint: Path) -> None:
        """Restore the state of a checkpoint."""
        self.objective.weights_change()
        self.done, self.losses, self.recent = load_state(
            checkpoint,
            self.module,
            self.optimizer,
            self.schedule,
            self.identity,
            self.stopper,
        )

    def train(self, on_step: Callable[[int], None]) -> tuple[int, str]:
        """Take all steps, or until early stopping ends the run.

        Returns their number, and why they ended early or an empty string.
        """
        self.wrapped.train()
        if self.done == 0:
            self.measure()
        on_screen = self.accelerator.is_main_process and not is_silenced()
        with tqdm(total=self.total, initial=self.done, disable=None if on_screen else True) as bar:
            while not self.finished:
                loss, norm = self.step()
                on_step(self.done)
                bar.update()
                self.log(loss, norm)
                if self.due(self.config.eval_steps):
                    self.measure()
                self.save()
        if self.stopper.weights:
            if self.stopper.step != self.done:
                self.objective.weights_change()
            put_weights(self.module, self.stopper.weights)
            print_once(f"kept the weights of step {self.stopper.step}: lowest held-out loss "
                f"{self.stopper.lowest:.4f}")  # fmt: skip
        if self.sharded is not None:
            self.objective.unshard()
        return self.done, self.stopper.reason

    def step(self) -> tuple[float, float]:
        """One optimizer step over the global batch; its loss and the norm of its gradient."""
        batch = self.next_batch()
        if self.drops:
            place = self.done * self.accelerator.num_processes + self.accelerator.process_index
            torch.manual_seed(self.run.seed * 1_000_003 + place)
        loss = self.accumulate(batch)
        parameters = self.module.parameters()
        norm = float(full(nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm)))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            prompts = [self.objective.prompt_of(row) for row in batch[:3]]
            raise TrainingError(_not_finite(self.done + 1, loss, norm, prompts), code="non-finite")
        has_derivative = torch.zeros((), dtype=torch.bool, device=self.accelerator.device)
        for outputs in self.outputs:
            has_derivative = has_derivative | wants_change(outputs)
        self.outputs = []
        check_zero_norm(norm, has_derivative, self.done + 1, self.objective.name)
        self.movement.before_step(self.optimizer)
        self.objective.weights_change()
        with whole_step():
            self.optimizer.step()
        self.movement.after_step(self.done + 1, self.optimizer)
        self.schedule.step()
        self.optimizer.zero_grad()
        self.done += 1
        return loss, norm

    def keep_output(self, module: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
        """Keep the outputs of a training forward pass, whose gradient shows what the loss wants."""
        if outputs.requires_grad:
            outputs.retain_grad()
            self.outputs.append(outputs)

    def next_batch(self) -> list[Row]:
        """This process's share of the rows of the next step."""
        rows = batch_rows(self.done, len(self.objective.rows), self.batch_size, self.run.seed)
        first = self.accelerator.process_index * self.share
        return [self.objective.rows[row] for row in rows[first:][: self.share]]

    def accumulate(self, batch: Sequence[Row]) -> float:
        """Accumulate the gradient of the global batch on the model; return its loss.

        The loss is a sum over the rows, divided by the mean weight of a batch, a constant: every
        label has the same weight, whatever batch it is in.
        """
        # Outside of `kept_casts`: a cast that is made without a gradient would be kept too.
        self.objective.start_step(batch)
        with nullcontext() if self.sharded else kept_casts(self.accelerator.device):
            loss, sums, weight = self._accumulate(batch)
        if sums:
            values = torch.stack([weight, *sums.values()])
            total, *means = self.accelerator.reduce(values, "sum").tolist()
            for name, value in zip(sums, means, strict=True):
                self.recent.setdefault(name, []).append(value / total)
        return float(self.accelerator.reduce(loss, "sum"))

    def _accumulate(self, batch: Sequence[Row]) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Loss, sums of metrics and sum of weights of this process's rows."""
        expected = self.batch_size * self.objective.mean_weight
        size, world = self.config.per_device_train_batch_size, self.accelerator.num_processes
        loss = torch.zeros((), device=self.accelerator.device)
        weight = torch.zeros((), device=self.accelerator.device)
        sums: dict[str, Tensor] = {}
        for start in range(0, self.share, size):
            last = start + size >= self.share
            waits = not (last or self.sharded)
            with self.accelerator.no_sync(self.wrapped) if waits else nullcontext():
                part = self.objective.loss(self.wrapped, batch[start:][:size])
                mean = part.loss / expected
                # DDP and FSDP average gradients over ranks; times `world` makes that their sum.
                torch.autograd.backward(mean * world)
            loss += mean.detach()
            weight += part.weight
            for name, value in part.sums.items():
                sums[name] = sums.get(name, torch.zeros_like(loss)) + value.detach()
        return loss, sums, weight

    @property
    def finished(self) -> bool:
        """Whether the last step was taken."""
        return self.done == self.total or self.stopper.over

    def due(self, every: int) -> bool:
        """Whether this step is a multiple of `every`, or the last."""
        return self.done % every == 0 or self.finished

    def log(self, loss: float, norm: float) -> None:
        """Write a line of metrics, with the mean loss and metrics since the last one."""
        self.losses.append(loss)
        if self.done == 1 or self.due(self.config.logging_steps):
            mean = sum(self.losses) / len(self.losses)
            values = {"loss": mean, "grad_norm": norm}
            values |= {name: sum(steps) / len(steps) for name, steps in self.recent.items()}
            self.metrics.write(
                self.done, values | {"learning_rate": float(self.schedule.get_last_lr()[0])}
            )
            self.losses, self.recent = [], {}

    def measure(self) -> None:
        """Log the metrics of held-out rows, if there are any."""
        with whole(self.wrapped):
            held_out = self.objective.evaluate()
        if held_out is None:
            return
        self.metrics.write(self.done, held_out.metrics)
        self.stopper.update(held_out.loss, self.done, trained_weights(self.module))
        if self.accelerator.is_main_process and self.done > 0 and not is_silenced():
            tqdm.write(f"step {self.done}/{self.total}: {held_out.text}")

    def save(self) -> None:
        """Write a checkpoint if one is due or SIGTERM came, which ends the run after it.

        Raises:
            Stopped: SIGTERM came, even after the last step: what follows takes time too.
        """
        folder = Path(self.run.output_dir)
        stop = self.sigterm.on_any_process()
        if self.due(self.config.save_steps) or stop:
            state = state_of(
                self.module,
                self.optimizer,
                self.schedule,
                self.done,
                self.identity,
                self.stopper,
                self.losses,
                self.recent,
            )
            if self.accelerator.is_main_process:
                save_state(folder, state, keep=self.config.save_total_limit)
            self.accelerator.wait_for_everyone()
        if stop:
            checkpoint = f"checkpoint-{self.done}"
            reason = self.sigterm.reason()
            raise Stopped(f"stopped by {reason}; {folder} holds {checkpoint} to resume from.")


def run_loop(
    loop: TrainingLoop[Row], *, resume: Path | None, on_step: Callable[[int], None]
) -> tuple[int, str]:
    """Take the loop's steps, from a checkpoint or from the beginning.

    Args:
        loop: a new loop.
        resume: a verified checkpoint of the run; None starts at the beginning.
        on_step: called with the number of optimizer steps, after each.

    Returns:
        The number of optimizer steps, and why they ended early or an empty string.
    """
    try:
        if resume is not None:
            loop.restore(resume)
        return loop.train(on_step)
    finally:
        loop.sigterm.release()


def _not_finite(step: int, loss: float, norm: float, prompts: Sequence[str]) -> str:
    beginnings = ", ".join(repr(prompt[:60]) for prompt in prompts)
    return (
        f"step {step}: loss {loss:.4g}, gradient norm {norm:.4g}; the step was not taken, and "
        f"checkpoints are intact. Its prompts begin with {beginnings}. Lower learning_rate or try "
        "--bf16 false."
    )
