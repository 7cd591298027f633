"""From the arguments of a trainer to the configurations of its run."""

import os
import shutil
import tempfile
import weakref
from dataclasses import asdict
from os import PathLike
from pathlib import Path

from rlhf.data.config import DataConfig, DataOptions, PromptDataConfig
from rlhf.data.files.memory import Data, RowsInMemory, source_name
from rlhf.errors import ConfigError
from rlhf.models.config import ModelConfig
from rlhf.runtime.run_folder import RunConfig


def run_config(
    trainer: object,
    output_dir: str | Path | None,
    *,
    seed: int,
    resume: str | Path | None,
    overwrite: bool,
) -> RunConfig:
    """The run's keys; without an `output_dir` a temporary folder that lives as long as `trainer`.

    Raises:
        ConfigError: no `output_dir` and several processes.
    """
    if output_dir is None:
        if (world_size := int(os.environ.get("WORLD_SIZE", "1"))) > 1:
            raise ConfigError(
                f"{world_size} processes need one run folder; give output_dir.", code="missing-key"
            )
        output_dir = tempfile.mkdtemp(prefix="rlhf-")
        weakref.finalize(trainer, shutil.rmtree, output_dir, ignore_errors=True)
    return RunConfig(
        output_dir=str(output_dir),
        seed=seed,
        resume_from_checkpoint=None if resume is None else str(resume),
        overwrite=overwrite,
    )


def model_config(model: str | Path | ModelConfig) -> ModelConfig:
    """The configuration of a folder or hub id; one that is given is returned."""
    if isinstance(model, ModelConfig):
        return model
    return ModelConfig(model_name_or_path=str(model))


def data_config(
    options: DataOptions | None, train: Data | None, held_out: Data | None
) -> DataConfig:
    """`options` with the sources of a run: those of the arguments, else its own.

    Rows in memory are named `rows`.

    Raises:
        ConfigError: no training data.
    """
    own = isinstance(options, PromptDataConfig)
    if train is None and not own:
        raise ConfigError("train_data is missing; give rows or a file.", code="missing-key")
    # Without options no row is printed: a library call has no user at a terminal.
    keys = asdict(options or DataOptions(show_rows=0))
    if train is not None:
        keys["train_data"] = [source_name(train)]
    if held_out is not None:
        keys["eval_data"] = [source_name(held_out)]
    return DataConfig(**keys)


def in_memory(data: Data | None) -> RowsInMemory | None:
    """`data` if it is rows in memory; None for a file or hub id, which the configuration names."""
    return None if isinstance(data, str | PathLike) else data
