"""Run stages: skip completed ones, resume interrupted ones, keep the folders of replaced ones.

Each stage has a folder. `stage.json` in it has the stage's inputs (settings by key, files and
models by hash) and its completed steps. If the inputs are unchanged, a finished stage is skipped
and an unfinished one continues with its next step. If they changed, the folder is renamed to
NAME.old-N and the stage starts from scratch.
"""

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlhf.errors import (
    STATUS_DONE,
    STATUS_STOPPED,
    STATUS_USER,
    CheckpointError,
    ConfigError,
    TrainingError,
)
from rlhf.manifest import check_folder, read_manifest, write_atomically
from rlhf.runtime.run_folder import CONFIG
from rlhf.runtime.run_lock import LOCK, check_not_locked
from rlhf.runtime.signals import Stopped

STAGE = "stage.json"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One part of a stage; `run` returns an exit status, 0 for success."""

    name: str
    run: Callable[[], int]
    # Files that an interrupted run may have left and from which the step cannot resume.
    leftovers: Sequence[Path] = ()


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Steps that fill one folder from the same inputs."""

    name: str
    folder: Path
    inputs: Mapping[str, object]  # everything that determines the result; see fingerprint.py
    steps: Sequence[Step]
    makes: Sequence[str] = ()  # files that the folder of a completed stage has


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """The content of stage.json."""

    inputs: Mapping[str, object]
    done: Mapping[str, float]  # step -> seconds
    finished: bool


def run_stage(stage: Stage, log: Callable[[str], None]) -> bool:
    """Complete the stage; False if it was complete.

    Raises:
        ConfigError: a step rejected its configuration (and printed why), or another process works
            in the folder.
        TrainingError: a step failed.
        Stopped: a step was stopped by SIGTERM and can be resumed.
    """
    check_not_locked(stage.folder)
    record = read_stage(stage.folder)
    reason = _reason_to_restart(stage, record)
    if record is not None and not reason and record.finished:
        log(f"{stage.name}: complete, inputs unchanged")
        return False
    done: dict[str, float] = {}
    if record is not None and not reason:
        done = dict(record.done)
        log(f"{stage.name}: resumes")
    elif reason and _has_results(stage.folder):
        log(f"{stage.name}: {reason}; the old folder is now {move_aside(stage.folder)}")
    for step in stage.steps:
        if step.name not in done:
            _write_stage(stage, done, finished=False)
            done[step.name] = _run_step(stage, step, log)
    _write_stage(stage, done, finished=True)
    return True


def read_stage(folder: Path) -> StageRecord | None:
    """The folder's stage.json; None if it does not exist or cannot be read."""
    try:
        content = json.loads((folder / STAGE).read_text(encoding="utf-8"))
        return StageRecord(
            inputs=content["inputs"], done=content["done"], finished=content["finished"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def move_aside(folder: Path) -> Path:
    """Rename the folder to NAME.old-N with the next free N and return the new path."""
    number = 1
    while (target := folder.with_name(f"{folder.name}.old-{number}")).exists():
        number += 1
    return folder.rename(target)


def _run_step(stage: Stage, step: Step, log: Callable[[str], None]) -> float:
    """Run the step and return its seconds."""
    log(f"{stage.name}: {step.name}")
    for path in step.leftovers:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    start = time.monotonic()
    status = step.run()
    if status == STATUS_USER:
        raise ConfigError(
            f"stage {stage.name} ({step.name}) rejected its configuration, see above.",
            code="bad-value",
        )
    if status in (STATUS_STOPPED, 128 + 15):
        raise Stopped(f"stopped in stage {stage.name}; run the same command again to resume")
    if status == 128 + 2 or status == 130:
        raise KeyboardInterrupt
    if status != STATUS_DONE:
        raise TrainingError(
            f"stage {stage.name} ({step.name}) failed with status {status}, see above; "
            "run the same command again to resume.",
            code="process-lost",
        )
    return round(time.monotonic() - start, 1)


def _reason_to_restart(stage: Stage, record: StageRecord | None) -> str:
    """Why the content of the folder cannot be used; "" if it can."""
    if record is None:
        return f"not from this pipeline (no {STAGE})"
    if record.inputs != stage.inputs:
        return f"inputs changed ({_changes(record.inputs, stage.inputs)})"
    missing = [name for name in stage.makes if not (stage.folder / name).exists()]
    if record.finished and missing:
        return f"{missing[0]} is missing"
    return _altered(stage.folder) if record.finished else ""


def _altered(folder: Path) -> str:
    """How the folder differs from its manifest; "" if it does not, or if there is no manifest."""
    try:
        if manifest := read_manifest(folder):
            check_folder(folder, manifest)
    except CheckpointError as error:
        return str(error)
    return ""


def _has_results(folder: Path) -> bool:
    """Whether the folder has more than the files of a run that stopped before its first step."""
    return folder.exists() and any(p.name not in (STAGE, CONFIG, LOCK) for p in folder.iterdir())


def _changes(old: Mapping[str, object], new: Mapping[str, object]) -> str:
    keys = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    changes = ", ".join(_change(key, old.get(key), new.get(key)) for key in keys[:4])
    return f"{changes}, …" if len(keys) > 4 else changes


def _change(key: str, old: object, new: object) -> str:
    """`kl_coef 0.1 -> 0.2`; only the key for hashes and lists."""
    short = all(isinstance(value, int | float) or len(str(value)) < 24 for value in (old, new))
    return f"{key} {old} -> {new}" if short else key


def _write_stage(stage: Stage, done: Mapping[str, float], *, finished: bool) -> None:
    content = {"finished": finished, "done": dict(done), "inputs": dict(stage.inputs)}
    write_atomically(stage.folder / STAGE, json.dumps(content, indent=2) + "\n")
