"""From the arguments of a trainer to the configurations of its run."""

import os
import shutil
import tempfile
import weakref
from dataclasses import asdict, replace
from os import PathLike
from pathlib import Path
from typing import TypeVar

from rlhf.data.config import DataConfig, DataOptions, PromptDataConfig
from rlhf.data.files.memory import Data, RowsInMemory, source_name
from rlhf.errors import ConfigError
from rlhf.models.config import BackboneConfig
from rlhf.runtime.paths import expand_home
from rlhf.runtime.run_folder import LATEST, RunConfig, checkpoint_to_resume

Backbone = TypeVar("Backbone", bound=BackboneConfig)
TEMPORARY = "rlhf-"  # how the names of temporary run folders start


def check_type(name: str, value: object, *classes: type, instead: str = "") -> None:
    """Check that an argument of a trainer is an instance of one of these classes.

    instead: what the message says to use; by default instances of the classes.

    Raises:
        ConfigError: the argument, its type and what to use.
    """
    if not isinstance(value, classes):
        use = instead or " or ".join(f"rlhf.{each.__name__}(...)" for each in classes)
        raise ConfigError(f"{name} is a {type(value).__name__}; use {use}.", code="bad-value")


def check_path(name: str, path: object, *, instead: str) -> None:
    """Check that an argument is a path and not an empty text.

    instead: what the message says to use.

    Raises:
        ConfigError: it is something else.
    """
    check_type(name, path, str, Path, instead=instead)
    if not str(path).strip():
        raise ConfigError(f"{name} is an empty text; use {instead}.", code="bad-value")


def run_config(
    trainer: object,
    output_dir: str | Path | None,
    *,
    seed: int,
    resume: str | Path | bool | None,
    overwrite: bool,
) -> RunConfig:
    """The run's keys; without an `output_dir` a temporary folder that lives as long as `trainer`.

    Args:
        trainer: the trainer.
        output_dir: the run folder; `~` is the user's home.
        seed: of the run.
        resume: a checkpoint's folder; `latest` or True for the newest one in `output_dir`.
        overwrite: whether an earlier run in `output_dir` is deleted.

    Raises:
        ConfigError: an argument that is no path; no `output_dir`, and several processes or a
            checkpoint to find in it.
        CheckpointError: the checkpoint's folder does not exist.
    """
    if isinstance(resume, bool):
        resume = LATEST if resume else None
    for name, path, instead in (
        ("output_dir", output_dir, "the path of a folder"),
        ("resume_from_checkpoint", resume, f"a checkpoint's folder, {LATEST!r} or True"),
    ):
        if path is not None:
            check_path(name, path, instead=instead)
    run = RunConfig(
        output_dir="" if output_dir is None else expand_home(output_dir),
        seed=seed,
        resume_from_checkpoint=None if resume is None else expand_home(resume),
        overwrite=overwrite,
    )
    if output_dir is not None:
        checkpoint_to_resume(run)
        return run
    if (world_size := int(os.environ.get("WORLD_SIZE", "1"))) > 1:
        raise ConfigError(
            f"{world_size} processes need one run folder; give output_dir.", code="missing-key"
        )
    if resume == LATEST:
        raise ConfigError(
            f"resume_from_checkpoint={LATEST!r} takes the newest checkpoint in output_dir; give "
            "output_dir.",
            code="missing-key",
        )
    checkpoint_to_resume(run)
    folder = tempfile.mkdtemp(prefix=TEMPORARY)
    weakref.finalize(trainer, shutil.rmtree, folder, ignore_errors=True)
    return replace(run, output_dir=folder)


def is_temporary(folder: Path) -> bool:
    """Whether a run folder is the temporary one of a trainer without an `output_dir`."""
    temporary = Path(tempfile.gettempdir())
    return folder.name.startswith(TEMPORARY) and folder.parent == temporary


def model_config(model: str | Path | Backbone, kind: type[Backbone]) -> Backbone:
    """The configuration of a folder or hub id; one that is given is returned.

    kind: the class of the configuration.

    Raises:
        ConfigError: a loaded model, or an object that names no model.
    """
    if isinstance(model, kind):
        return model
    if hasattr(model, "save_pretrained"):
        raise ConfigError(
            f"model is a loaded {type(model).__name__}, but a run records the files that it starts "
            "from; save model and tokenizer to a folder with save_pretrained, and give the folder.",
            code="bad-value",
        )
    instead = f"a model's folder, a hub id or rlhf.{kind.__name__}(...)"
    check_type("model", model, str, Path, instead=instead)
    assert isinstance(model, str | Path)
    return kind(model_name_or_path=str(model))


def data_config(
    options: DataOptions | None, train: Data | None, held_out: Data | None
) -> DataConfig:
    """`options` with the sources of a run: those of the arguments, else its own.

    Rows in memory are named `rows`.

    Raises:
        ConfigError: no training data, or options of another class.
    """
    if options is not None:
        check_type("data_config", options, DataOptions)
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


def check_not_trained(trainer: object, *, started: bool) -> None:
    """Check that `train` is called for the first time: later steps would not be those of a run.

    trainer: the trainer, or the name of its class.

    Raises:
        ConfigError: it was called before; and how to continue.
    """
    if started:
        name = _name_of(trainer)
        raise ConfigError(
            f"{name}.train was already called, but a trainer trains once; save() writes what it "
            f"trained. Make a new {name} to train again; with the same output_dir and "
            "resume_from_checkpoint=True it resumes from the last checkpoint.",
            code="run-exists",
        )


def not_trained(trainer: object, method: str) -> ConfigError:
    """The error of a method that needs a trained model."""
    return ConfigError(
        f"{_name_of(trainer)}.{method}: nothing is trained yet; call train() first.",
        code="not-trained",
    )


def _name_of(trainer: object) -> str:
    return trainer if isinstance(trainer, str) else type(trainer).__name__
