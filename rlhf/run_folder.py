"""A run's folder: refuse one that is taken, write config.yaml, find checkpoints in it."""

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlhf.config import as_yaml
from rlhf.errors import CheckpointError, ConfigError
from rlhf.launch import on_main_process, quiet_logs, start_processes
from rlhf.manifest import write_atomically

CONFIG = "config.yaml"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Keys that every recipe shares: where a run goes and how it starts."""

    output_dir: str = field(metadata={"help": "Folder of this run."})
    seed: int = field(default=0, metadata={"help": "Seed of everything random."})
    overwrite: bool = field(default=False, metadata={"help": "Delete a run in output_dir first."})
    resume_from_checkpoint: str | None = field(
        default=None,
        metadata={"help": "Checkpoint folder to go on from, or `latest` of output_dir."},
    )
    report_to: list[str] = field(
        default_factory=list,
        metadata={"help": "Trackers beside metrics.jsonl: tensorboard, trackio, wandb."},
    )
    push_to_hub: str | None = field(
        default=None, metadata={"help": "Hub id to upload the final model to."}
    )
    dry_run: bool = field(
        default=False, metadata={"help": "Say what would run (rows, parameters, memory) and stop."}
    )
    cpu_threads: int | None = field(
        default=None, metadata={"help": "CPU threads of a process; default shares the cores out."}
    )


def begin_run(run: RunConfig) -> int:
    """The number of processes, once they see each other and `output_dir` is free for this run.

    The first call of a recipe, on every process.

    Raises:
        ConfigError: as `start_processes` and `claim_run_folder`.
    """
    world_size = start_processes(run.cpu_threads)
    quiet_logs()
    on_main_process(lambda: claim_run_folder(run))
    return world_size


def claim_run_folder(run: RunConfig) -> Path:
    """`output_dir`, free for this run (emptied with `overwrite`). Call it on one process.

    It writes nothing, so that a run refused for its data leaves no folder that holds a run.

    Raises:
        ConfigError: the folder holds a run, finished or not, and neither
            `resume_from_checkpoint` nor `overwrite` is set.
    """
    folder = Path(run.output_dir)
    if run.overwrite and run.resume_from_checkpoint:
        raise ConfigError("overwrite and resume_from_checkpoint exclude each other; give one.")
    if holds_run(folder) and run.overwrite:
        shutil.rmtree(folder)
    elif holds_run(folder) and not run.resume_from_checkpoint:
        raise ConfigError(
            f"output_dir {folder} already holds a run; go on with --resume_from_checkpoint latest, "
            "start again with --overwrite, or name another folder."
        )
    return folder


def open_run_folder(run: RunConfig, *configs: Any) -> Path:
    """`output_dir`, claimed, made and holding the resolved config.yaml. Call it on one process.

    Raises:
        ConfigError: as `claim_run_folder`.
    """
    folder = claim_run_folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / CONFIG, as_yaml(run, *configs))
    return folder


def holds_run(folder: Path) -> bool:
    """Whether the folder holds the files of a run, finished or not."""
    return (folder / CONFIG).exists() or bool(checkpoints(folder))


def checkpoints(folder: Path) -> list[Path]:
    """`checkpoint-N` folders, oldest first. Unfinished ones carry another name."""
    found = [path for path in folder.glob("checkpoint-*") if _CHECKPOINT.fullmatch(path.name)]
    return sorted(found, key=step_of)


def step_of(checkpoint: Path) -> int:
    """N of a `checkpoint-N` folder."""
    match = _CHECKPOINT.fullmatch(checkpoint.name)
    if match is None:
        raise CheckpointError(f"{checkpoint} is not named checkpoint-N; name the folder itself.")
    return int(match.group(1))


def checkpoint_to_resume(run: RunConfig) -> Path | None:
    """The folder that `resume_from_checkpoint` names; None to start from the beginning.

    Raises:
        CheckpointError: the named folder is not there.
    """
    if run.resume_from_checkpoint is None:
        return None
    if run.resume_from_checkpoint == "latest":
        found = checkpoints(Path(run.output_dir))
        return found[-1] if found else None
    path = Path(run.resume_from_checkpoint)
    if not path.is_dir():
        raise CheckpointError(f"resume_from_checkpoint {path} is not a folder; use `latest`.")
    return path
