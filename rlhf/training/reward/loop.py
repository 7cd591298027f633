"""Reward-model training: K-wise ranking loss, a loop on accelerate that resumes exactly.

The loop is not transformers.Trainer's: a batch element is a prompt with all its responses and all
rankings of them, each response is read once, and the loss is a mean over rankings that neither the
number of processes nor accumulation changes.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm  # type: ignore[import-untyped]

from rlhf.errors import TrainingError
from rlhf.models.autocast import kept_casts
from rlhf.models.shard import full, whole
from rlhf.runtime.distributed import is_silenced, print_once
from rlhf.runtime.signals import SigtermFlag, Stopped, whole_step
from rlhf.training.common.early_stopping import EarlyStopping, put_weights, trained_weights
from rlhf.training.common.metrics import MetricsWriter
from rlhf.training.common.sharding import is_sharded
from rlhf.training.common.weight_checks import (
    Movement,
    check_trainable,
    check_zero_norm,
    parts_of,
    wants_change,
)
from rlhf.training.reward.checkpoint import identity_of, load_state, save_state, state_of
from rlhf.training.reward.data import TokenRanking, by_prompt, draw_for_heads
from rlhf.training.reward.loss import batch_loss, settled_tie_threshold
from rlhf.training.reward.metrics import measure
from rlhf.training.reward.schedule import batch_rows, make_optimizer, num_steps, rate
from rlhf.training.reward.scores import Scores
from rlhf.training.reward.setup import RewardSetup
from rlhf.training.reward.sharded import sharded


def train_reward_model(
    scores: Scores,
    train: Sequence[TokenRanking],
    held_out: Sequence[TokenRanking],
    setup: RewardSetup,
    *,
    resume: Path | None,
    on_step: Callable[[int], None] = lambda step: None,
) -> tuple[int, str]:
    """Train a model in place; return the optimizer steps and why they ended early, if they did.

    Loss: the mean over the global batch's rankings of each one's mean over its pairs, weighted.
    The prompts of a step, and what LoRA drops, depend only on the seed and the step: a resumed run
    takes exactly the steps of an uninterrupted one. With early stopping the model gets the weights
    of the lowest held-out loss at the end.

    Args:
        scores: of the model to train, with its adapters.
        train: the rankings of `setup.rows.train`, with the weights of their annotators.
        held_out: rankings to evaluate on; may be none.
        setup: the checked run.
        resume: a verified checkpoint of the run; None starts at the beginning.
        on_step: called with the number of optimizer steps, after each.

    Raises:
        TrainingError: a loss or gradient that is not finite, with the step and its prompts; a part
            to train that is frozen or does not move.
        CheckpointError: `resume` belongs to a run with other data, batches or loss.
        Stopped: SIGTERM came; a checkpoint of this step was written.
    """
    loop = TrainingLoop(scores, train, held_out, setup)
    if resume is not None:
        loop.restore(resume)
    try:
        return loop.train(on_step)
    finally:
        loop.sigterm.release()


class TrainingLoop:
    """The state of a run from step to step."""

    def __init__(
        self,
        scores: Scores,
        train: Sequence[TokenRanking],
        held_out: Sequence[TokenRanking],
        setup: RewardSetup,
    ) -> None:
        run, config = setup.run, setup.config
        self.accelerator = Accelerator(
            cpu=not torch.accelerator.is_available(), mixed_precision="no"
        )
        train = draw_for_heads(train, config.num_heads, run.seed)
        self.prompts, self.held_out = by_prompt(train), held_out
        self.per_prompt = len(train) / len(self.prompts)  # rankings
        self.tie_threshold = settled_tie_threshold(config, train)
        self.run, self.config, self.pad_token_id = run, config, setup.chat.pad_token_id
        self.share = config.per_device_train_batch_size * config.gradient_accumulation_steps
        self.batch_size = self.share * self.accelerator.num_processes
        self.total = num_steps(config, len(self.prompts), self.batch_size)
        self.drops = setup.model.lora_dropout > 0  # LoRA's inputs
        self.done = 0  # steps taken
        self.losses: list[float] = []  # of the steps since the last logged one
        self.scores = scores
        self.scorer = scorer = scores.scorer.to(self.accelerator.device)
        self.sharded = sharded(scorer, self.accelerator.device) if is_sharded() else None
        self.optimizer = make_optimizer(scorer, config)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda step: rate(step, total=self.total, warmup_ratio=config.warmup_ratio),
        )
        self.identity = identity_of(setup, train, batch_size=self.batch_size, total=self.total)
        self.stopper = EarlyStopping(
            config.early_stopping_patience, config.early_stopping_threshold
        )
        self.movement = Movement(parts_of(scorer.model))
        check_trainable(self.movement.parts, [scorer.model])
        self.outputs: list[Tensor] = []  # of the step's forward passes
        self.scorer.register_forward_hook(self.keep_output)
        self.wrapped = self.sharded or self.accelerator.prepare_model(self.scorer)
        self.metrics = MetricsWriter(setup.folder, run.report_to)
        self.sigterm = SigtermFlag()

    def restore(self, checkpoint: Path) -> None:
        """Restore the state of a checkpoint."""
        self.scores.forget()
        self.done, self.losses = load_state(
            checkpoint,
            self.scorer,
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
            put_weights(self.scorer, self.stopper.weights)
            if self.stopper.step != self.done:
                self.scores.forget()
            print_once(f"kept the weights of step {self.stopper.step}: lowest held-out loss "
                f"{self.stopper.lowest:.4f}")  # fmt: skip
        if self.sharded is not None:
            self.scores.scorer = self.sharded.whole_scorer()
        return self.done, self.stopper.reason

    def step(self) -> tuple[float, float]:
        """One optimizer step over the global batch; its loss and the norm of its gradient."""
        batch = self.next_batch()
        if self.drops:
            place = self.done * self.accelerator.num_processes + self.accelerator.process_index
            torch.manual_seed(self.run.seed * 1_000_003 + place)
        loss = self.accumulate(batch)
        parameters = self.scorer.parameters()
        norm = float(full(nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm)))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingError(_not_finite(self.done + 1, loss, norm, batch), code="non-finite")
        has_derivative = torch.zeros((), dtype=torch.bool, device=self.accelerator.device)
        for scores in self.outputs:
            has_derivative = has_derivative | wants_change(scores)
        self.outputs = []
        check_zero_norm(norm, has_derivative, self.done + 1, "reward model")
        self.movement.before_step(self.optimizer)
        self.scores.forget()
        with whole_step():
            self.optimizer.step()
        self.movement.after_step(self.done + 1, self.optimizer)
        self.schedule.step()
        self.optimizer.zero_grad()
        self.done += 1
        return loss, norm

    def keep_output(self, module: nn.Module, inputs: tuple[Tensor, ...], scores: Tensor) -> None:
        """Keep the scores of a training forward pass, whose gradient shows what the loss wants."""
        if scores.requires_grad:
            scores.retain_grad()
            self.outputs.append(scores)

    def next_batch(self) -> list[list[TokenRanking]]:
        """This process's share of the prompts of the next step, each with all its rankings."""
        rows = batch_rows(self.done, len(self.prompts), self.batch_size, self.run.seed)
        first = self.accelerator.process_index * self.share
        return [self.prompts[row] for row in rows[first:][: self.share]]

    def accumulate(self, batch: Sequence[Sequence[TokenRanking]]) -> float:
        """Accumulate the gradient of the global batch on the model; return its loss.

        The loss is a sum over the rankings, divided by the mean number of rankings of a batch, a
        constant: every ranking has the same weight, whatever batch it is in.
        """
        with nullcontext() if self.sharded else kept_casts(self.accelerator.device):
            loss = self._accumulate(batch)
        return float(self.accelerator.reduce(loss, "sum"))

    def _accumulate(self, batch: Sequence[Sequence[TokenRanking]]) -> Tensor:
        expected = self.batch_size * self.per_prompt
        size, world = self.config.per_device_train_batch_size, self.accelerator.num_processes
        loss = torch.zeros((), device=self.accelerator.device)
        for start in range(0, self.share, size):
            last = start + size >= self.share
            waits = not (last or self.sharded)
            with self.accelerator.no_sync(self.wrapped) if waits else nullcontext():
                rows = [ranking for prompt in batch[start:][:size] for ranking in prompt]
                part = batch_loss(
                    self.wrapped, rows, self.pad_token_id, self.config, self.tie_threshold
                )
                part = part / expected
                # DDP and FSDP average gradients over ranks; times `world` makes that their sum.
                (part * world).backward()
            loss += part.detach()
        return loss

    @property
    def finished(self) -> bool:
        """Whether the last step was taken."""
        return self.done == self.total or self.stopper.over

    def due(self, every: int) -> bool:
        """Whether this step is a multiple of `every`, or the last."""
        return self.done % every == 0 or self.finished

    def log(self, loss: float, norm: float) -> None:
        """Write a line of metrics, with the mean loss since the last one."""
        self.losses.append(loss)
        if self.done == 1 or self.due(self.config.logging_steps):
            mean = sum(self.losses) / len(self.losses)
            values = {"loss": mean, "grad_norm": norm}
            self.metrics.write(
                self.done, values | {"learning_rate": float(self.schedule.get_last_lr()[0])}
            )
            self.losses = []

    def measure(self) -> None:
        """Log held-out loss and accuracy, if rankings are held out."""
        if not self.held_out:
            return
        with whole(self.wrapped):
            health = measure(self.scores, self.held_out)
        self.metrics.write(self.done, health.metrics())
        self.stopper.update(health.loss, self.done, trained_weights(self.scorer))
        if self.accelerator.is_main_process and self.done > 0 and not is_silenced():
            text = f"held-out loss {health.loss:.4f}, accuracy {health.accuracy:.3f}"
            tqdm.write(f"step {self.done}/{self.total}: {text}")

    def save(self) -> None:
        """Write a checkpoint if one is due or SIGTERM came, which ends the run after it.

        Raises:
            Stopped: SIGTERM came, even after the last step: what follows takes time too.
        """
        folder = Path(self.run.output_dir)
        stop = self.sigterm.on_any_process()
        if self.due(self.config.save_steps) or stop:
            state = state_of(
                self.scorer,
                self.optimizer,
                self.schedule,
                self.done,
                self.identity,
                self.stopper,
                self.losses,
            )
            if self.accelerator.is_main_process:
                save_state(folder, state, keep=self.config.save_total_limit)
            self.accelerator.wait_for_everyone()
        if stop:
            checkpoint = f"checkpoint-{self.done}"
            reason = self.sigterm.reason()
            raise Stopped(f"stopped by {reason}; {folder} holds {checkpoint} to resume from.")


def _not_finite(
    step: int, loss: float, norm: float, batch: Sequence[Sequence[TokenRanking]]
) -> str:
    prompts = ", ".join(repr(str(rankings[0].prompt)[:60]) for rankings in batch[:3])
    return (
        f"step {step}: loss {loss:.4g}, gradient norm {norm:.4g}; the step was not taken, and "
        f"checkpoints are intact. Its prompts begin with {prompts}. Lower learning_rate or try "
        "--bf16 false."
    )
