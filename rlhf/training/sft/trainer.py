"""Supervised fine-tuning: TRL's SFTTrainer on rows that this project tokenizes itself.

The trainer gets `input_ids` and `labels` instead of texts, so that an answer has the same tokens
here as under the reward model and in PPO, and the loss is on the answer and its end of turn
alone whatever the chat template looks like.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import trl
from accelerate import PartialState
from accelerate.utils import DistributedType
from datasets import Dataset
from peft import PeftModel
from transformers import PreTrainedModel, PrinterCallback

from rlhf.data.tokenization.chat import training_examples
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import ConfigError
from rlhf.manifest import hash_text
from rlhf.models.config import ModelConfig, use_bf16
from rlhf.models.packing import check_packing
from rlhf.runtime.distributed import on_main_process, print_once
from rlhf.runtime.run_folder import RunConfig
from rlhf.runtime.signals import SigtermFlag, Stopped
from rlhf.training.common.early_stopping import EarlyStopping, put_weights
from rlhf.training.common.metrics import MetricsWriter
from rlhf.training.common.weight_checks import check_trainable, parts_of
from rlhf.training.sft.callback import RunCallback
from rlhf.training.sft.config import SFTConfig
from rlhf.training.sft.trl_trainer import SFTTrainer, router_settings_kept
from rlhf.types import Demonstration

IGNORED = -100  # label of a token that carries no loss


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
        ConfigError: early stopping without held-out rows, or of sharded weights; packing for a
            model whose packed rows see each other.
        TrainingError: a gradient that is not finite, or is 0 without a reason, before the step is
            taken; something to train that is frozen or does not move.
        CheckpointError: `resume` belongs to other data, another batch size or another length.
        Stopped: SIGTERM came; a checkpoint of this step was written.
    """
    stopper = EarlyStopping(config.early_stopping_patience, config.early_stopping_threshold)
    if stopper.patience is not None:
        _check_stopping(evaluates=bool(held_out))
    check_trainable(parts_of(model), [model])
    if config.packing:
        on_main_process(lambda: check_packing(model, model_config.model_name_or_path))
    callback = RunCallback(
        parts_of(model),
        MetricsWriter(Path(run.output_dir), run.report_to),
        SigtermFlag(),
        stopper,
        resume=resume,
        identity=_identity(run, config, train),
    )
    with router_settings_kept(model.config):
        trainer = SFTTrainer(
            model=model,
            args=_arguments(run, model_config, config, max_length, evaluates=bool(held_out)),
            train_dataset=as_dataset(chat, train),
            eval_dataset=as_dataset(chat, held_out) if held_out else None,
            processing_class=chat.tokenizer,
            callbacks=[callback],
        )
    trainer.see = callback.losses.append
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    if callback.stopped:
        raise Stopped(f"stopped by SIGTERM; {run.output_dir} holds a checkpoint to resume from.")
    if held_out and callback.last_evaluated != trainer.state.global_step:
        trainer.evaluate()
    return _result(trainer, stopper)


def _identity(
    run: RunConfig, config: SFTConfig, train: Sequence[Demonstration]
) -> dict[str, int | str]:
    """Return what a resumed run has to share with the one that wrote the checkpoint."""
    batch_size = config.per_device_train_batch_size * config.gradient_accumulation_steps
    return {
        "seed": run.seed,
        "batch_size": batch_size * PartialState().num_processes,
        "train_data of sha256": hash_text(repr(list(train))),
    }


def _result(trainer: SFTTrainer, stopper: EarlyStopping) -> SFTResult:
    """Return the trained model, with the weights that early stopping kept, and its losses."""
    final = trainer.accelerator.unwrap_model(trainer.model)
    if stopper.weights:
        put_weights(final, stopper.weights)
        print_once(
            f"kept the weights of step {stopper.step}: lowest held-out loss {stopper.lowest:.4f}"
        )
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
    """Columns `input_ids` and `labels`: the token itself on what the model writes, else -100.

    A row is one example, or one for each turn that cannot share its (see `training_examples`).
    """
    examples = [example for row in rows for example in training_examples(chat, row)]
    labels = [
        [token if own else IGNORED for token, own in zip(one.ids, one.trained, strict=True)]
        for one in examples
    ]
    return Dataset.from_dict({"input_ids": [one.ids for one in examples], "labels": labels})


def _arguments(
    run: RunConfig, model: ModelConfig, config: SFTConfig, max_length: int, *, evaluates: bool
) -> trl.SFTConfig:
    arguments = trl.SFTConfig(
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
    # A process that nobody launched would take every GPU of the machine, by nn.DataParallel.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments
