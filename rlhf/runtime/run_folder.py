"""A run's output folder: check that it is free, write config.yaml, find checkpoints."""

import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rlhf.errors import CheckpointError, ConfigError
from rlhf.manifest import write_atomically
from rlhf.runtime.config import as_yaml_with_defaults
from rlhf.runtime.disk import writes_to
from rlhf.runtime.distributed import Sharding, on_main_process, start_processes
from rlhf.runtime.field_types import check_field_types
from rlhf.runtime.paths import check_inputs_outside, make_folder, nearest_existing
from rlhf.runtime.printing import quiet_logs
from rlhf.runtime.run_lock import check_not_locked, hold

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

CONFIG = "config.yaml"
LATEST = "latest"  # the newest checkpoint of output_dir, as a value of resume_from_checkpoint
MODEL_FILES = ("config.json", "adapter_config.json")
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
# Responses of an interrupted evaluation or run of suites, of each process. Results replace them.
EVALUATION_JOURNALS, SUITE_JOURNALS = "answers.jsonl.*.partial", "suite_answers.jsonl.*.partial"
JOURNALS = (EVALUATION_JOURNALS, SUITE_JOURNALS)
RESULTS = "evaluation.json"
# What runs write, and so all that `overwrite` deletes. rejected.jsonl is not in the list: when the
# folder is opened, that file is already the new run's.
MADE = (
    *(CONFIG, "manifest.json", "metrics.jsonl", "README.md", "report.html", "samples"),
    *("checkpoint-*", ".checkpoint-*", ".saving"),
    *("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json"),
    *("adapter", "merged_base", "adapter_config.json", "tokenizer.json", "tokenizer_config.json"),
    *("tokenizer.model", "special_tokens_map.json", "added_tokens.json", "vocab.json"),
    *("vocab.txt", "merges.txt", "chat_template.jinja"),
    *(RESULTS, "answers.jsonl", "suite_answers.jsonl", "gate.json", "best"),
    *("stage.json", *JOURNALS),
)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Keys of every recipe: the output folder, and how the run starts."""

    output_dir: str = field(metadata={"help": "Output folder of the run."})
    seed: int = field(default=0, metadata={"help": "Random seed of the run."})
    overwrite: bool = field(default=False, metadata={"help": "Delete the run in output_dir first."})
    resume_from_checkpoint: str | None = field(
        default=None,
        metadata={"help": "Checkpoint folder to resume from, or `latest` in output_dir."},
    )
    report_to: list[str] = field(
        default_factory=list,
        metadata={"help": "Trackers in addition to metrics.jsonl: tensorboard, trackio, wandb."},
    )
    push_to_hub: str | None = field(
        default=None, metadata={"help": "Hub id to which the final model is uploaded."}
    )
    dry_run: bool = field(
        default=False,
        metadata={"help": "Print rows, memory and time, and exit."},
    )
    skip_plan: bool = field(
        default=False,
        metadata={"help": "Start a run although its models do not fit into memory by estimate."},
    )
    cpu_threads: int | None = field(
        default=None,
        metadata={"help": "CPU threads per process; default: an equal share."},
    )

    def __post_init__(self) -> None:
        check_field_types(self)
        for name in self.report_to:
            _check_tracker(name)
        if not 0 <= self.seed < 1 << 32:
            raise ConfigError(
                f"seed={self.seed} is out of range; use 0 to {(1 << 32) - 1}.", code="bad-value"
            )


def _check_tracker(name: str) -> None:
    """Reject a tracker that accelerate does not know or cannot import."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    if name not in LOGGER_TYPE_TO_CLASS:
        known = ", ".join(sorted(LOGGER_TYPE_TO_CLASS))
        raise ConfigError(
            f"report_to: unknown tracker {name!r} (choose from {known}).", code="bad-value"
        )
    if name not in map(str, get_available_trackers()):
        raise ConfigError(
            f"report_to: {name} is not installed; run `pip install 'rlhf[tracking]'`.",
            code="missing-package",
        )


def check_upload(hub_id: str | None) -> None:
    """Check what an upload after hours of training would fail for: the hub id and the token.

    Raises:
        ConfigError: a name that no model of the hub can have, or there is no token.
    """
    if hub_id is None:
        return
    from huggingface_hub import get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(hub_id)
    except HFValidationError as error:
        raise ConfigError(
            f"push_to_hub={hub_id!r} is not a hub id such as NAME/MODEL: {error}", code="bad-value"
        ) from error
    if get_token() is None:
        raise ConfigError(
            f"push_to_hub={hub_id} needs a token of the hub, but there is none; run "
            "`hf auth login`, or set HF_TOKEN.",
            code="missing-key",
        )


def begin_run(run: RunConfig, *, sharding: Sharding = "none", continues: str | None = None) -> int:
    """The number of processes, once they form one group and `output_dir` is free for this run.

    The first call of a recipe, on every process. `sharding` is that of `start_processes`,
    `continues` that of `claim_run_folder`.

    Raises:
        ConfigError: as `check_upload`, `start_processes` and `claim_run_folder`.
    """
    writes_to(Path(run.output_dir))
    check_upload(run.push_to_hub)
    world_size = start_processes(run.cpu_threads, sharding=sharding)
    quiet_logs()
    on_main_process(lambda: claim_run_folder(run, continues=continues))
    return world_size


def claim_run_folder(run: RunConfig, *, continues: str | None = None) -> Path:
    """`output_dir`, if it is free for this run. Call it on one process.

    It changes nothing, so that a run rejected for its data neither creates nor deletes a folder.

    Args:
        run: names the folder.
        continues: the journals of an interrupted run that this one continues unasked:
            EVALUATION_JOURNALS or SUITE_JOURNALS; None if it continues none.

    Raises:
        ConfigError: the folder cannot be created or written, or another process works in it, or it
            has a finished or unfinished run and neither `resume_from_checkpoint` nor `overwrite`
            is set, or its config.yaml was not written by a run.
    """
    folder = Path(run.output_dir)
    if run.overwrite and run.resume_from_checkpoint:
        raise ConfigError(
            "overwrite and resume_from_checkpoint exclude each other; give one.",
            code="key-conflict",
        )
    check_own_folder(folder)
    check_not_locked(folder)
    may_use = run.overwrite or run.resume_from_checkpoint
    if holds_run(folder) and not (may_use or was_interrupted(folder, continues)):
        raise ConfigError(
            f"output_dir {folder} already holds a run; resume it with resume_from_checkpoint="
            f"{LATEST}, replace it with overwrite=true, or name another folder.",
            code="run-exists",
        )
    return folder


def check_own_folder(folder: Path) -> None:
    """Reject a path at or below a file, a read-only folder, and files of others.

    Those are a config.yaml of another program, and a model without a run, such as the one to train.

    Raises:
        ConfigError: one of these.
    """
    if (lowest := nearest_existing(folder)).is_file():
        raise ConfigError(
            f"output_dir {folder}: {lowest} is a file; name another folder.", code="bad-value"
        )
    if not os.access(lowest, os.W_OK | os.X_OK):
        raise ConfigError(
            f"output_dir {folder} cannot be written to: {lowest} is read-only or not yours; "
            "name another folder.",
            code="bad-value",
        )
    config = folder / CONFIG
    if config.is_file() and not config.read_bytes().startswith(b"output_dir:"):
        raise ConfigError(
            f"output_dir {folder}: its {CONFIG} is not that of a run and would be overwritten; "
            "name another folder.",
            code="run-exists",
        )
    model = next((folder / name for name in MODEL_FILES if (folder / name).is_file()), None)
    if model is not None and not config.is_file():
        raise ConfigError(
            f"output_dir {folder} has a saved model ({model.name}) that would be overwritten; "
            "name another folder.",
            code="file-exists",
        )


def open_run_folder(
    run: RunConfig, *configs: "DataclassInstance", continues: str | None = None
) -> Path:
    """Create `output_dir`, lock it until this process ends, and write the resolved config.yaml.

    With `overwrite`, the files of an earlier run there are deleted first, and nothing else. Call
    it on one process; the lock holds for all. `continues` is that of `claim_run_folder`.

    Raises:
        ConfigError: as `claim_run_folder`; or a file that the run reads would be deleted.
    """
    folder = claim_run_folder(run, continues=continues)
    make_folder(folder)
    hold(folder)
    claim_run_folder(run, continues=continues)  # another run may have used the folder in between
    if run.overwrite:
        check_inputs_outside(folder, run, *configs)
        delete_run(folder)
    write_atomically(folder / CONFIG, as_yaml_with_defaults(run, *configs))
    return folder


def delete_run(folder: Path) -> None:
    """Delete the files of a run in the folder; other files stay."""
    if holds_run(folder):
        for path in [path for pattern in MADE for path in folder.glob(pattern)]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def holds_run(folder: Path) -> bool:
    """Whether the folder has the files of a finished or unfinished run."""
    return (folder / CONFIG).exists() or bool(checkpoints(folder))


def was_interrupted(folder: Path, journals: str | None) -> bool:
    """Whether the folder has such journals of responses and no results of them."""
    return journals is not None and any(folder.glob(journals)) and not (folder / RESULTS).exists()


def checkpoints(folder: Path) -> list[Path]:
    """`checkpoint-N` folders, oldest first. Unfinished ones have another name."""
    paths = [path for path in folder.glob("checkpoint-*") if _CHECKPOINT.fullmatch(path.name)]
    return sorted(paths, key=step_of)


def step_of(checkpoint: Path) -> int:
    """N of a `checkpoint-N` folder."""
    match = _CHECKPOINT.fullmatch(checkpoint.name)
    if match is None:
        raise CheckpointError(
            f"{checkpoint} is not a checkpoint-N folder; name the folder itself.",
            code="no-checkpoint",
        )
    return int(match.group(1))


def checkpoint_to_resume(run: RunConfig) -> Path | None:
    """The folder that `resume_from_checkpoint` names; None to start from scratch.

    Raises:
        CheckpointError: the folder does not exist.
    """
    if run.resume_from_checkpoint is None:
        return None
    if run.resume_from_checkpoint == LATEST:
        complete = checkpoints(Path(run.output_dir))
        return complete[-1] if complete else None
    path = Path(run.resume_from_checkpoint)
    if not path.is_dir():
        raise CheckpointError(
            f"resume_from_checkpoint {path} is not a folder; use `{LATEST}`.", code="no-checkpoint"
        )
    return path
