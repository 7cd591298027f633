"""Hooks around the steps of transformers' Trainer: metrics, gradient checks, SIGTERM, resuming."""

import json
import math
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType, reduce
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rlhf.errors import TrainingError
from rlhf.manifest import write_atomically
from rlhf.models.shard import full
from rlhf.runtime.distributed import print_once
from rlhf.runtime.signals import SigtermFlag, whole_step
from rlhf.training.common.checkpoint import check_same_run, seal_checkpoint
from rlhf.training.common.early_stopping import EarlyStopping, trained_weights
from rlhf.training.common.metrics import MetricsWriter
from rlhf.training.common.weight_checks import Movement, Parts, check_zero_norm, parts_of

IDENTITY = "identity.json"  # in a checkpoint: the settings that determine its steps
STOPPER = "early_stopping.pt"  # in a checkpoint: the state of early stopping
_LOSSES = ("loss", "eval_loss")
_LOGGED = {
    "loss": "loss",
    "eval_loss": "eval_loss",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "epoch": "epoch",
    "entropy": "entropy",
    "mean_token_accuracy": "token_accuracy",
    "eval_mean_token_accuracy": "eval_token_accuracy",
    "num_tokens": "num_tokens",
}


class AlreadyTrained(Exception):
    """The checkpoint is of the last step. transformers' trainer would train one step more."""


class RunCallback(TrainerCallback):
    """Logs metrics, checks gradients, stops on SIGTERM, and marks checkpoints as complete.

    Args:
        parts: the trained parts of the model.
        metrics: where lines are written.
        sigterm: whether the run has to stop.
        stopper: early stopping.
        resume: the checkpoint that the run resumes from.
        identity: settings that a resumed run has to share with the run that wrote its checkpoint.
        on_step: called with the number of optimizer steps, after each.
    """

    def __init__(
        self,
        parts: Parts,
        metrics: MetricsWriter,
        sigterm: SigtermFlag,
        stopper: EarlyStopping,
        *,
        resume: Path | None,
        identity: dict[str, object],
        on_step: Callable[[int], None],
    ) -> None:
        self.movement = Movement(parts)
        self.losses: list[Tensor] = []  # of the forward passes since the last optimizer step
        self.metrics = metrics
        self.sigterm = sigterm
        self.stopper = stopper
        self.resume, self.identity, self.on_step = resume, identity, on_step
        self.started_step = ExitStack()  # holds `whole_step` during an optimizer step
        self.stopped = False
        self.last_evaluated = -1

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        self.movement = Movement(parts_of(kwargs["model"]))  # sharding replaces parameters
        self.identity["total"] = state.max_steps
        if self.resume is not None:
            path = self.resume / IDENTITY
            written = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            check_same_run(self.resume, written, self.identity)
            state_file = self.resume / STOPPER
            if self.stopper.patience is not None and state_file.is_file():
                self.stopper.restore(torch.load(state_file, map_location="cpu", weights_only=True))
            if state.global_step >= state.max_steps:
                raise AlreadyTrained

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.started_step.enter_context(whole_step())
        # Cross-entropy is 0 where no token is trained, or each is certain.
        has_loss = any(bool(loss != 0) for loss in self.losses)
        self.losses.clear()
        if PartialState().distributed_type == DistributedType.DEEPSPEED:
            return  # gradients are in DeepSpeed's own buffers
        step = state.global_step + 1
        gradients = [p.grad for p in kwargs["model"].parameters() if p.grad is not None]
        norm = full(torch.nn.utils.get_total_norm(gradients)).item() if gradients else 0.0
        if not math.isfinite(norm):
            raise TrainingError(
                f"step {step}: loss or gradient is not finite, the step was not taken; lower "
                "learning_rate or try --bf16 false, and resume from the last checkpoint.",
                code="non-finite",
            )
        norms = torch.tensor([norm], device=PartialState().device)
        has_derivative = torch.tensor(has_loss, device=norms.device)
        check_zero_norm(float(reduce(norms, "sum").sum()), has_derivative, step, "model")
        self.movement.before_step(kwargs["optimizer"])

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.movement.after_step(state.global_step + 1, kwargs["optimizer"])

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        self.on_step(state.global_step)
        self.started_step.close()
        if self.sigterm.on_any_process():
            self.stopped = control.should_save = control.should_training_stop = True

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        PartialState().wait_for_everyone()  # other ranks write their random states to it
        if PartialState().is_main_process:
            checkpoint = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
            write_atomically(checkpoint / IDENTITY, json.dumps(self.identity) + "\n")
            if self.stopper.patience is not None:
                torch.save(self.stopper.state(), checkpoint / STOPPER)
            seal_checkpoint(checkpoint)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.last_evaluated = state.global_step
        weights = trained_weights(kwargs["model"])
        self.stopper.update(kwargs["metrics"]["eval_loss"], state.global_step, weights)
        if self.stopper.over:
            control.should_training_stop = True

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        logs = kwargs["logs"]
        if "loss" not in logs and "eval_loss" not in logs:
            return  # transformers' summary at the end
        values = {_LOGGED[name]: value for name, value in logs.items() if name in _LOGGED}
        self.metrics.write(state.global_step, values)
        if args.disable_tqdm:
            losses = [f"{name} {values[name]:.4f}" for name in _LOSSES if name in values]
            print_once(f"step {state.global_step}/{state.max_steps}: {', '.join(losses)}")
