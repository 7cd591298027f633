"""The checks of an SFT run before a weight is loaded: keys, folder, tokenizer, rows."""

from functools import partial
from pathlib import Path
from typing import TypeAlias

from rlhf.data.config import DataConfig
from rlhf.data.files.memory import RowsInMemory
from rlhf.data.held_out import load_train_and_held_out
from rlhf.data.rows.bad_rows import REJECTS, BadRows
from rlhf.data.rows.load_sft import load_sft_rows
from rlhf.errors import ConfigError
from rlhf.models.compatibility import load_checked_tokenizer
from rlhf.models.config import ModelConfig, use_bf16
from rlhf.models.recurrent import check_not_recurrent
from rlhf.runtime.distributed import uses_deepspeed_on_cpu
from rlhf.runtime.run_folder import RunConfig
from rlhf.training.common.begin import begin_training
from rlhf.training.common.setup import RunSetup
from rlhf.training.sft.config import SFTConfig
from rlhf.types import SFTRow

SFTSetup: TypeAlias = RunSetup[SFTRow, SFTConfig]


def check_run(
    run: RunConfig,
    model: ModelConfig,
    data: DataConfig,
    config: SFTConfig,
    *,
    train: RowsInMemory | None = None,
    held_out: RowsInMemory | None = None,
) -> SFTSetup:
    """The checked run. Call it on all processes.

    Args:
        run: the run folder and how the run starts.
        model: the model to fine-tune.
        data: sources and options of rows.
        config: keys of the training.
        train: rows in memory, in place of the sources of `train_data`.
        held_out: rows in memory, in place of the sources of `eval_data`.

    Raises:
        ConfigError: keys that do not go together, a folder that holds a run.
        CheckpointError: a model that cannot be built on.
        DataError: rows that cannot be used.
    """
    world_size, model = begin_training(run, model, config, sharding="fsdp_or_deepspeed")
    bf16 = use_bf16(model)
    if bf16 and uses_deepspeed_on_cpu():
        raise ConfigError(
            "transformers' trainer computes in float32 under DeepSpeed on a CPU; add --bf16 false.",
            code="unsupported",
        )
    path = model.model_name_or_path
    chat, _ = load_checked_tokenizer(
        path, data.chat_template, template_kwargs=data.template_kwargs, samples=False
    )
    if config.num_samples or config.packing:
        check_not_recurrent(path, "train it with --num_samples 0 --packing false")
    rejects = Path(run.output_dir) / REJECTS
    with BadRows(drop=data.drop_bad_rows, reject_file=rejects) as bad_rows:
        rows = load_train_and_held_out(
            partial(load_sft_rows, train_on=config.train_on),
            data,
            chat,
            bad_rows,
            seed=run.seed,
            train=train,
            held_out=held_out,
        )
    return SFTSetup(
        run=run,
        model=model,
        data=data,
        config=config,
        world_size=world_size,
        bf16=bf16,
        chat=chat,
        rows=rows,
    )
