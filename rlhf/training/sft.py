"""Supervised fine-tuning: TRL's SFTTrainer on rows that this project tokenizes itself.

The trainer gets `input_ids` and `labels` instead of texts, so that an answer has the same tokens
here as under the reward model and in PPO, and the loss is on the answer and its end of turn
alone whatever the chat template looks like.
"""

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import trl
from accelerate import PartialState
from accelerate.utils import DistributedType
from datasets import Dataset
from peft import PeftModel
from transformers import PreTrainedModel, PrinterCallback, TrainerCallback

from rlhf.data.chat import answer_ids, completion_mask
from rlhf.data.tokenizer import ChatTokenizer
from rlhf.errors import ConfigError, TrainingError
from rlhf.launch import SigtermFlag, Stopped, say
from rlhf.manifest import hash_text, write_atomically
from rlhf.models.config import ModelConfig, use_bf16
from rlhf.run_folder import RunConfig
from rlhf.training.checkpoint import refuse_another_run, seal_checkpoint
from rlhf.training.early_stopping import (
    THRESHOLD_HELP,
    EarlyStopping,
    check_early_stopping,
    put_weights,
    trained_weights,
)
from rlhf.training.metrics import MetricsWriter
from rlhf.training.ranges import check_ranges
from rlhf.types import Demonstration

IDENTITY = "identity.json"  # in a checkpoint: what decides the steps of its run
STOPPER = "early_stopping.pt"  # in a checkpoint: what early stopping has seen
IGNORED = -100  # label of a token that carries no loss


@dataclass(frozen=True, kw_only=True)
class SFTConfig:
    """Keys of supervised fine-tuning beside those that all training recipes share."""

    learning_rate: float = field(default=2e-5, metadata={"help": "Peak learning rate."})
    num_train_epochs: float = field(default=3.0, metadata={"help": "Passes over the rows."})
    max_steps: int | None = field(
        default=None, metadata={"help": "Optimizer steps; goes over num_train_epochs."}
    )
    per_device_train_batch_size: int = field(
        default=8, metadata={"help": "Rows a process reads at once (packed rows where packed)."}
    )
    gradient_accumulation_steps: int = field(
        default=1, metadata={"help": "Batches summed up to one optimizer step."}
    )
    packing: bool = field(
        default=True,
        metadata={"help": "Put short rows together up to max_length; they do not see each other."},
    )
    lr_scheduler_type: Literal["cosine", "linear", "constant"] = field(
        default="cosine", metadata={"help": "Learning rate after the warm-up."}
    )
    warmup_ratio: float = field(default=0.05, metadata={"help": "Share of steps to warm up over."})
    weight_decay: float = field(default=0.0, metadata={"help": "AdamW's weight decay."})
    max_grad_norm: float = field(default=1.0, metadata={"help": "Gradients are clipped to this."})
    logging_steps: int = field(default=10, metadata={"help": "Steps between lines of metrics."})
    eval_steps: int = field(
        default=50, metadata={"help": "Steps between held-out losses; also before and after."}
    )
    save_steps: int = field(default=100, metadata={"help": "Steps between checkpoints."})
    save_total_limit: int = field(default=2, metadata={"help": "Checkpoints that are kept."})
    early_stopping_patience: int | None = field(
        default=None,
        metadata={
            "help": "Stop after this many evaluations without a lower held-out loss, and keep "
            "the weights of the lowest."
        },
    )
    early_stopping_threshold: float = field(default=0.002, metadata={"help": THRESHOLD_HELP})
    num_samples: int = field(
        default=16, metadata={"help": "Prompts answered before and after, in samples/."}
    )
    sample_max_new_tokens: int = field(
        default=128, metadata={"help": "Longest answer in samples/, in tokens."}
    )

    def __post_init__(self) -> None:
        check_ranges(self)
        check_early_stopping(self.early_stopping_patience, self.early_stopping_threshold)


@dataclass(frozen=True, kw_only=True)
class SFTResult:
    """What a finished run has to tell."""

    model: PreTrainedModel | PeftModel  # unwrapped
    steps: int
    eval_loss_before: float | None  # nats per token of the held-out answers; None without any
    eval_loss_after: float | None
    stopped_early: bool = False


def train_sft(
    model: PreTrainedModel | PeftModel,
    chat: ChatTokenizer,
    train: Sequence[Demonstration],
    held_out: Sequence[Demonstration],
    *,
    run: RunConfig,
    model_config: ModelConfig,
    config: SFTConfig,
    max_length: int,
    resume: Path | None,
) -> SFTResult:
    """Fine-tune `model` on `train`; checkpoints and metrics.jsonl go to the run's folder.

    The loss is the mean over the global batch's answer tokens. Resuming is exact: dropout is
    0, the trainer restores optimizer, schedule, RNG and the place in the data. With early stopping
    the model is left with the weights of the lowest held-out loss.

    Raises:
        ConfigError: early stopping without held-out rows, or of sharded weights.
        TrainingError: a gradient that is not finite; the step that made it is not taken.
        CheckpointError: `resume` belongs to other data, another batch size or another length.
        Stopped: SIGTERM came; a checkpoint of this step was written.
    """
    stopper = EarlyStopping(config.early_stopping_patience, config.early_stopping_threshold)
    if stopper.patience is not None:
        _check_stopping(evaluates=bool(held_out))
    batch_size = config.per_device_train_batch_size * config.gradient_accumulation_steps
    callback = _RunCallback(
        MetricsWriter(Path(run.output_dir), run.report_to),
        SigtermFlag(),
        stopper,
        resume=resume,
        identity={
            "seed": run.seed,
            "batch_size": batch_size * PartialState().num_processes,
            "train_data of sha256": hash_text(repr(list(train))),
        },
    )
    trainer = trl.SFTTrainer(
        model=model,
        args=_arguments(run, model_config, config, max_length, evaluates=bool(held_out)),
        train_dataset=as_dataset(chat, train),
        eval_dataset=as_dataset(chat, held_out) if held_out else None,
        processing_class=chat.tokenizer,
        callbacks=[callback],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    if callback.stopped:
        raise Stopped(f"stopped by SIGTERM; {run.output_dir} holds a checkpoint to resume from.")
    if held_out and callback.last_evaluated != trainer.state.global_step:
        trainer.evaluate()
    final = trainer.accelerator.unwrap_model(trainer.model)
    if stopper.weights:
        put_weights(final, stopper.weights)
        say(f"kept the weights of step {stopper.step}: lowest held-out loss {stopper.lowest:.4f}")
    losses = [line["eval_loss"] for line in trainer.state.log_history if "eval_loss" in line]
    return SFTResult(
        model=final,
        steps=trainer.state.global_step,
        eval_loss_before=losses[0] if losses else None,
        eval_loss_after=stopper.lowest if stopper.weights else losses[-1] if losses else None,
        stopped_early=stopper.over,
    )


def _check_stopping(*, evaluates: bool) -> None:
    """Refuse early stopping that has nothing to go by, or no whole weights to keep."""
    if not evaluates:
        raise ConfigError(
            "early_stopping_patience goes by the held-out loss and nothing is held out; give "
            "eval_data or eval_fraction."
        )
    if PartialState().distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        raise ConfigError(
            "early_stopping_patience keeps a copy of whole weights, and here they are sharded; "
            "leave it out."
        )


def as_dataset(chat: ChatTokenizer, rows: Sequence[Demonstration]) -> Dataset:
    """Columns `input_ids` and `labels`: -100 on the prompt, the token itself on the answer."""
    inputs = [answer_ids(chat, row.prompt, row.completion) for row in rows]
    labels = [
        [
            token if in_answer else IGNORED
            for token, in_answer in zip(
                ids, completion_mask(chat, row.prompt, row.completion), strict=True
            )
        ]
        for ids, row in zip(inputs, rows, strict=True)
    ]
    return Dataset.from_dict({"input_ids": inputs, "labels": labels})


class _RunCallback(TrainerCallback):
    """What happens around a step: metrics, the check of the gradients, SIGTERM, the mark."""

    def __init__(
        self,
        metrics: MetricsWriter,
        sigterm: SigtermFlag,
        stopper: EarlyStopping,
        *,
        resume: Path | None,
        identity: dict[str, int | str],
    ) -> None:
        self.metrics = metrics
        self.sigterm = sigterm
        self.stopper = stopper
        self.resume, self.identity = resume, identity
        self.stopped = False
        self.last_evaluated = -1

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.identity["total"] = state.max_steps
        if self.resume is not None:
            path = self.resume / IDENTITY
            written = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            refuse_another_run(self.resume, written, self.identity)
            kept = self.resume / STOPPER
            if self.stopper.patience is not None and kept.is_file():
                self.stopper.restore(torch.load(kept, map_location="cpu", weights_only=True))

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        gradients = [p.grad for p in kwargs["model"].parameters() if p.grad is not None]
        if gradients and not math.isfinite(torch.nn.utils.get_total_norm(gradients).item()):
            raise TrainingError(
                f"step {state.global_step + 1}: loss or gradient is not finite, the step was not "
                "taken; lower learning_rate or try --bf16 false, and resume the last checkpoint."
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.sigterm.on_any_process():
            self.stopped = control.should_save = control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        PartialState().wait_for_everyone()  # other ranks write their random state into it
        if PartialState().is_main_process:
            checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            write_atomically(checkpoint / IDENTITY, json.dumps(self.identity) + "\n")
            if self.stopper.patience is not None:
                torch.save(self.stopper.state(), checkpoint / STOPPER)
            seal_checkpoint(checkpoint)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.last_evaluated = state.global_step
        weights = trained_weights(kwargs["model"])
        self.stopper.see(kwargs["metrics"]["eval_loss"], state.global_step, weights)
        if self.stopper.over:
            control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        logs = kwargs["logs"]
        if "loss" not in logs and "eval_loss" not in logs:
            return  # the trainer's summary at the end
        values = {_LOGGED[name]: value for name, value in logs.items() if name in _LOGGED}
        self.metrics.write(state.global_step, values)
        if args.disable_tqdm and state.is_world_process_zero:
            losses = [f"{name} {values[name]:.4f}" for name in _LOSSES if name in values]
            print(f"step {state.global_step}/{state.max_steps}: {', '.join(losses)}", flush=True)


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


def _arguments(
    run: RunConfig, model: ModelConfig, config: SFTConfig, max_length: int, *, evaluates: bool
) -> trl.SFTConfig:
    return trl.SFTConfig(
        output_dir=run.output_dir,
        seed=run.seed,
        learning_rate=config.learning_rate,
        num_train_epochs=config.num_train_epochs,
        max_steps=config.max_steps or -1,
        per_device_train_batch_size=config.per_device_train_batch_size,
        per_device_eval_batch_size=config.per_device_train_batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        lr_scheduler_type=config.lr_scheduler_type,
        warmup_steps=config.warmup_ratio,  # below 1 transformers takes it as a share
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        max_length=max_length,
        packing=config.packing,
        packing_strategy="bfd",
        eval_packing=False,
        gradient_checkpointing=model.gradient_checkpointing,
        bf16=use_bf16(model),
        use_cpu=not torch.accelerator.is_available(),
        logging_steps=config.logging_steps,
        logging_first_step=True,
        # Its default reports a loss that is not finite as 0.0.
        logging_nan_inf_filter=False,
        eval_strategy="steps" if evaluates else "no",
        eval_steps=config.eval_steps if evaluates else None,
        eval_on_start=evaluates,
        save_strategy="steps",
        save_steps=config.save_steps,
        save_total_limit=config.save_total_limit,
        report_to="none",
        ddp_find_unused_parameters=False,
        # A bar for a terminal, lines for a file.
        disable_tqdm=not (PartialState().is_main_process and sys.stderr.isatty()),
    )
