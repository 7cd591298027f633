"""A run's folder: refuse one that is taken, write config.yaml, find checkpoints in it."""

import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlhf.errors import CheckpointError, ConfigError
from rlhf.manifest import write_atomically
from rlhf.runtime.config import as_dict, as_yaml_with_defaults
from rlhf.runtime.disk import writes_to
from rlhf.runtime.distributed import Sharding, on_main_process, start_processes
from rlhf.runtime.printing import quiet_logs
from rlhf.runtime.run_lock import check_not_locked, hold

CONFIG = "config.yaml"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
# What runs write, and so all that `overwrite` deletes. rejected.jsonl is not among it: when the
# folder is opened that list is already the new run's.
MADE = (
    *(CONFIG, "manifest.json", "metrics.jsonl", "README.md", "report.html", "samples"),
    *("checkpoint-*", ".checkpoint-*", ".saving"),
    *("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json"),
    *("adapter", "merged_base", "adapter_config.json", "tokenizer.json", "tokenizer_config.json"),
    *("tokenizer.model", "special_tokens_map.json", "added_tokens.json", "vocab.json"),
    *("vocab.txt", "merges.txt", "chat_template.jinja"),
    *("evaluation.json", "answers.jsonl", "gate.json", "best", "stage.json"),
)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Keys that every recipe shares: where a run goes and how it starts."""

    output_dir: str = field(metadata={"help": "Folder of this run."})
    seed: int = field(default=0, metadata={"help": "Seed of everything random."})
    overwrite: bool = field(default=False, metadata={"help": "Delete the run in output_dir first."})
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

    def __post_init__(self) -> None:
        for name in self.report_to:
            _check_tracker(name)
        if not 0 <= self.seed < 1 << 32:
            raise ConfigError(f"seed={self.seed}: seeds go from 0 to {(1 << 32) - 1}.")


def _check_tracker(name: str) -> None:
    """Refuse a tracker that accelerate does not know, or cannot import here."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, filter_trackers

    if name not in LOGGER_TYPE_TO_CLASS:
        known = ", ".join(sorted(LOGGER_TYPE_TO_CLASS))
        raise ConfigError(f"report_to {name!r} is no tracker; known ones: {known}.")
    if not filter_trackers([name], "."):
        raise ConfigError(
            f"report_to {name} is not installed; `pip install -e '.[tracking]'` in the checkout."
        )


def begin_run(run: RunConfig, *, sharding: Sharding = "none") -> int:
    """The number of processes, once they see each other and `output_dir` is free for this run.

    The first call of a recipe, on every process. sharding: as in `start_processes`.

    Raises:
        ConfigError: as `start_processes` and `claim_run_folder`.
    """
    writes_to(Path(run.output_dir))
    world_size = start_processes(run.cpu_threads, sharding=sharding)
    quiet_logs()
    on_main_process(lambda: claim_run_folder(run))
    return world_size


def claim_run_folder(run: RunConfig) -> Path:
    """`output_dir`, free for this run. Call it on one process.

    It only looks, so that a run refused for its data leaves no folder that holds a run and has
    deleted none.

    Raises:
        ConfigError: the folder cannot be one, or another process works in it, or it holds a run,
            finished or not, and neither `resume_from_checkpoint` nor `overwrite` is set, or
            config.yaml is something else's.
    """
    folder = Path(run.output_dir)
    if run.overwrite and run.resume_from_checkpoint:
        raise ConfigError("overwrite and resume_from_checkpoint exclude each other; give one.")
    check_own_folder(folder)
    check_not_locked(folder)
    if holds_run(folder) and not (run.overwrite or run.resume_from_checkpoint):
        raise ConfigError(
            f"output_dir {folder} already holds a run; go on with --resume_from_checkpoint latest, "
            "start again with --overwrite, or name another folder."
        )
    return folder


def check_own_folder(folder: Path) -> None:
    """Refuse a file, a folder below one, one that cannot be written, and another's config.yaml.

    Raises:
        ConfigError: which of these it is.
    """
    if (lowest := next(p for p in (folder, *folder.absolute().parents) if p.exists())).is_file():
        raise ConfigError(f"output_dir {folder}: {lowest} is a file; name another folder.")
    if not os.access(lowest, os.W_OK | os.X_OK):
        raise ConfigError(
            f"output_dir {folder} cannot be written to: {lowest} is read-only or not yours; "
            "name another folder."
        )
    config = folder / CONFIG
    if config.is_file() and not config.read_bytes().startswith(b"output_dir:"):
        raise ConfigError(
            f"output_dir {folder}: its {CONFIG} is no run's and would be written over; "
            "name another folder."
        )


def open_run_folder(run: RunConfig, *configs: Any) -> Path:
    """`output_dir`, made, held until this process ends, with the resolved config.yaml in it.

    With `overwrite` what an earlier run made there is deleted first, and nothing else. Call it on
    one process: it holds the folder for all.

    Raises:
        ConfigError: as `claim_run_folder`; or a file that the run reads would be deleted.
    """
    folder = claim_run_folder(run)
    make_folder(folder)
    hold(folder)
    claim_run_folder(run)  # another run may have come and gone in between
    if run.overwrite:
        check_inputs_outside(folder, run, *configs)
        delete_run(folder)
    write_atomically(folder / CONFIG, as_yaml_with_defaults(run, *configs))
    return folder


def make_folder(folder: Path) -> None:
    """The folder, made where it is not there.

    Raises:
        ConfigError: it cannot be made, or nothing can be written in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"output_dir {folder} cannot be made: {error.strerror}; name another folder."
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"output_dir {folder} cannot be written to; name another folder.")


def delete_run(folder: Path) -> None:
    """Delete what a run made in the folder; other files stay."""
    if holds_run(folder):
        for path in [path for pattern in MADE for path in folder.glob(pattern)]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def check_inputs_outside(folder: Path, *configs: Any) -> None:
    """Refuse to delete in a folder that a key of `configs` names something in.

    Raises:
        ConfigError: the key and the path.
    """
    for key, value in as_dict(*configs).items():
        for word in value if isinstance(value, list) else [value]:
            if key != "output_dir" and isinstance(word, str) and _lies_in(word, folder):
                raise ConfigError(
                    f"{key} {word} lies in output_dir {folder}, which --overwrite would empty; "
                    "name another output_dir."
                )


def _lies_in(word: str, folder: Path) -> bool:
    """Whether the word, maybe `NAME=PATH`, `WEIGHT*PATH` or `FILE:function`, names a path there."""
    named = [word, word.partition("=")[2], word.partition("*")[2]]
    paths = [Path(one) for text in named for one in (text, text.rpartition(":")[0]) if one]
    inside = folder.resolve()
    return any(path.exists() and path.resolve().is_relative_to(inside) for path in paths)


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
