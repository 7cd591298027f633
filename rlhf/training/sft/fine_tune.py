"""Fine-tune a loaded model: TRL's SFTTrainer on rows that this project tokenizes itself.

The trainer gets `input_ids` and `labels` instead of texts. So a response has the same tokens here
as under the reward model and in PPO, and only the response and its end of turn carry loss,
whatever the chat template looks like. In a plain text every token after the first carries loss.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
import trl
from accelerate import PartialState
from datasets import Dataset
from peft import PeftModel
from torch.optim import Optimizer
from transformers import PreTrainedModel, PrinterCallback
from transformers.training_args import OptimizerNames

from rlhf.data.tokenization.texts import sft_examples
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import ConfigError
from rlhf.manifest import hash_text
from rlhf.models.config import step_keys
from rlhf.models.packing import check_packing
from rlhf.runtime.distributed import (
    is_silenced,
    on_main_process,
    print_once,
    uses_deepspeed_on_cpu,
)
from rlhf.runtime.signals import SigtermFlag, Stopped
from rlhf.training.common.bf16_adamw import BF16AdamW
from rlhf.training.common.early_stopping import EarlyStopping, put_weights
from rlhf.training.common.metrics import MetricsWriter
from rlhf.training.common.sharding import is_sharded
from rlhf.training.common.weight_checks import check_trainable, parts_of
from rlhf.training.sft.callback import AlreadyTrained, RunCallback
from rlhf.training.sft.config import SFTConfig
from rlhf.training.sft.setup import SFTSetup
from rlhf.training.sft.trl_trainer import (
    TRLTrainer,
    own_accelerate_state,
    restored_router_settings,
)
from rlhf.training.sft.zero3 import whole_model
from rlhf.types import SFTRow

IGNORED = -100  # label of a token that carries no loss


@dataclass(frozen=True, kw_only=True)
class FineTuned:
    """A fine-tuned model. Losses are in nats per token of the held-out responses or texts."""

    model: PreTrainedModel | PeftModel  # unwrapped; with FSDP in shards
    steps: int
    eval_loss_before: float | None  # None where nothing is held out
    eval_loss_after: float | None
    stopped_early: str = ""  # the reason; empty where the run went to its end


def fine_tune(
    model: PreTrainedModel | PeftModel,
    setup: SFTSetup,
    *,
    resume: Path | None,
    on_step: Callable[[int], None] = lambda step: None,
) -> FineTuned:
    """Fine-tune `model`; checkpoints and metrics.jsonl go to the run folder.

    The loss is the mean over the trained tokens of the global batch. Resuming is exact: the
    trainer restores optimizer, schedule, random state and the place in the data. With early
    stopping the model gets the weights of the lowest held-out loss at the end.

    Args:
        model: the model to train, with its adapters.
        setup: the checked run.
        resume: a verified checkpoint of the run; None starts at the beginning.
        on_step: called with the number of optimizer steps, after each.

    Raises:
        ConfigError: early stopping without held-out rows; packing for a model whose packed rows
            see each other.
        TrainingError: a gradient that is not finite, or is 0 without a reason, before the step is
            taken; a part to train that is frozen or does not move.
        CheckpointError: `resume` belongs to a run with other data, batches or length.
        Stopped: SIGTERM came; a checkpoint of this step was written.
    """
    run, config, chat, rows = setup.run, setup.config, setup.chat, setup.rows
    length = setup.data.max_length
    stopper = EarlyStopping(config.early_stopping_patience, config.early_stopping_threshold)
    if stopper.patience is not None:
        _check_early_stopping(evaluates=bool(rows.held_out))
    check_trainable(parts_of(model), [model])
    if config.packing:
        on_main_process(lambda: check_packing(model, setup.model.model_name_or_path))
    sigterm = SigtermFlag()
    callback = RunCallback(
        parts_of(model),
        MetricsWriter(setup.folder, run.report_to),
        sigterm,
        stopper,
        resume=resume,
        identity=_identity(setup),
        on_step=on_step,
    )
    sharded = is_sharded()
    with sigterm, own_accelerate_state():
        with restored_router_settings(model.config):
            trainer = TRLTrainer(
                model=model,
                args=trl_arguments(setup),
                train_dataset=as_dataset(chat, rows.train, length),
                eval_dataset=as_dataset(chat, rows.held_out, length) if rows.held_out else None,
                processing_class=chat.tokenizer,
                callbacks=[callback],
                optimizer_cls_and_kwargs=_optimizer(config),
            )
        trainer.on_loss, trainer.sharded = callback.losses.append, sharded
        trainer.remove_callback(PrinterCallback)
        with suppress(AlreadyTrained), callback.started_step:
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        if callback.stopped:
            reason, folder = sigterm.reason(), run.output_dir
            raise Stopped(f"stopped by {reason}; {folder} holds a checkpoint to resume from.")
        if rows.held_out and callback.last_evaluated != trainer.state.global_step:
            trainer.evaluate()
        return _result(trainer, stopper)


def _identity(setup: SFTSetup) -> dict[str, object]:
    """Settings that a resumed run has to share with the run that wrote the checkpoint."""
    config = setup.config
    batch_size = config.per_device_train_batch_size * config.gradient_accumulation_steps
    return {
        "seed": setup.run.seed,
        "batch_size": batch_size * PartialState().num_processes,
        "train_data of sha256": hash_text(repr(list(setup.rows.train))),
        **step_keys(setup.model, config.optim),
    }


def _result(trainer: TRLTrainer, stopper: EarlyStopping) -> FineTuned:
    """The trained model, with the weights that early stopping kept, and its losses."""
    if trainer.is_deepspeed_enabled:
        final = whole_model(trainer.model_wrapped)
    else:
        final = trainer.accelerator.unwrap_model(trainer.model)
    if stopper.weights:
        put_weights(final, stopper.weights)
        print_once(
            f"kept the weights of step {stopper.step}: lowest held-out loss {stopper.lowest:.4f}"
        )
    losses = [line["eval_loss"] for line in trainer.state.log_history if "eval_loss" in line]
    return FineTuned(
        model=final,
        steps=trainer.state.global_step,
        eval_loss_before=losses[0] if losses else None,
        eval_loss_after=stopper.lowest if stopper.weights else losses[-1] if losses else None,
        stopped_early=stopper.reason,
    )


def _check_early_stopping(*, evaluates: bool) -> None:
    """Check that early stopping has a held-out loss to use."""
    if not evaluates:
        raise ConfigError(
            "early_stopping_patience needs a held-out loss, but nothing is held out; give "
            "eval_data or eval_fraction.",
            code="key-conflict",
        )


def as_dataset(
    chat: ChatTokenizer, rows: Sequence[SFTRow], max_length: int | None = None
) -> Dataset:
    """Columns `input_ids` and `labels`: the token itself where the model is trained, else -100.

    A row is one example, or several where turns cannot share one (see `training_examples`) or a
    text has more than `max_length` tokens.
    """
    examples = [example for row in rows for example in sft_examples(chat, row, max_length)]
    labels = [
        [
            token if trained else IGNORED
            for token, trained in zip(example.ids, example.trained, strict=True)
        ]
        for example in examples
    ]
    return Dataset.from_dict({"input_ids": [example.ids for example in examples], "labels": labels})


def _optimizer(config: SFTConfig) -> tuple[type[Optimizer], dict[str, float]] | None:
    """The class and arguments of an optimizer that transformers' trainer does not know."""
    return (BF16AdamW, {"lr": config.learning_rate}) if config.optim == "adamw_bf16" else None


def trl_arguments(setup: SFTSetup) -> trl.SFTConfig:
    """The settings of TRL's trainer."""
    run, config, evaluates = setup.run, setup.config, bool(setup.rows.held_out)
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
        warmup_steps=config.warmup_ratio,  # transformers reads a number below 1 as a share
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        max_length=setup.data.max_length,
        packing=config.packing,
        packing_strategy="bfd",
        eval_packing=False,
        gradient_checkpointing=setup.model.gradient_checkpointing,
        bf16=setup.bf16,
        use_cpu=not (torch.accelerator.is_available() or uses_deepspeed_on_cpu()),
        ddp_backend="gloo" if uses_deepspeed_on_cpu() else None,
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
        # A progress bar on a terminal, lines in a file.
        disable_tqdm=is_silenced() or not (PartialState().is_main_process and sys.stderr.isatty()),
    )
    if config.optim in ("adamw_8bit", "paged_adamw_8bit"):
        arguments.optim = OptimizerNames(config.optim)
    # Without a launcher, one process would take every GPU of the machine with nn.DataParallel.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments
