"""A chain of stages that skips what is done, goes on where it stopped, and keeps what it replaces.

A stage owns a folder. `stage.json` in it says what went in (settings by key, files and models by
hash) and which steps are done. The same inputs: a finished stage is skipped, an unfinished one
goes on with its next step. Other inputs: the folder moves to NAME.old-N and the stage starts anew.
"""

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    """One part of a stage; `run` gives an exit status, 0 for done."""

    name: str
    run: Callable[[], int]
    # Files a broken-off try may have left and that the step does not go on from.
    leftovers: Sequence[Path] = ()


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Steps that fill one folder from the same inputs."""

    name: str
    folder: Path
    inputs: Mapping[str, Any]  # what decides the outcome, by name; see fingerprint.py
    steps: Sequence[Step]
    makes: Sequence[str] = ()  # files in the folder without which it is not done


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """What stage.json holds."""

    inputs: Mapping[str, Any]
    done: Mapping[str, float]  # step -> seconds it took
    finished: bool


def run_stage(stage: Stage, say: Callable[[str], None]) -> bool:
    """Bring the stage to its end; False where there was nothing to do.

    Raises:
        ConfigError: a step refused what it was given (it has said why), or another process works
            in the folder.
        TrainingError: a step failed.
        Stopped: a step was ended by SIGTERM and can go on.
    """
    check_not_locked(stage.folder)
    record = read_stage(stage.folder)
    reason = _why_anew(stage, record)
    if record is not None and not reason and record.finished:
        say(f"{stage.name}: done before, inputs unchanged")
        return False
    done: dict[str, float] = {}
    if record is not None and not reason:
        done = dict(record.done)
        say(f"{stage.name}: goes on where it stopped")
    elif reason and _holds_work(stage.folder):
        say(f"{stage.name}: {reason}; the old one is kept in {move_aside(stage.folder)}")
    for step in stage.steps:
        if step.name not in done:
            _write_stage(stage, done, finished=False)
            done[step.name] = _run_step(stage, step, say)
    _write_stage(stage, done, finished=True)
    return True


def read_stage(folder: Path) -> StageRecord | None:
    """The folder's stage.json; None where there is none that can be read."""
    try:
        content = json.loads((folder / STAGE).read_text(encoding="utf-8"))
        return StageRecord(
            inputs=content["inputs"], done=content["done"], finished=content["finished"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def move_aside(folder: Path) -> Path:
    """Rename the folder to NAME.old-N with the next free N and return its new place."""
    number = 1
    while (target := folder.with_name(f"{folder.name}.old-{number}")).exists():
        number += 1
    return folder.rename(target)


def _run_step(stage: Stage, step: Step, say: Callable[[str], None]) -> float:
    """Seconds that the step took."""
    say(f"{stage.name}: {step.name}")
    for path in step.leftovers:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    start = time.monotonic()
    status = step.run()
    if status == STATUS_USER:
        raise ConfigError(f"stage {stage.name} ({step.name}) was refused, see above.")
    if status in (STATUS_STOPPED, 128 + 15):
        raise Stopped(f"stopped in stage {stage.name}; the same command goes on from there")
    if status == 128 + 2 or status == 130:
        raise KeyboardInterrupt
    if status != STATUS_DONE:
        raise TrainingError(
            f"stage {stage.name} ({step.name}) failed with status {status}, see above; "
            "the same command goes on from there."
        )
    return round(time.monotonic() - start, 1)


def _why_anew(stage: Stage, record: StageRecord | None) -> str:
    """Why what lies in the folder cannot be used; "" where it can."""
    if record is None:
        return f"was not made by this chain (no {STAGE})"
    if record.inputs != stage.inputs:
        return f"inputs changed ({_changes(record.inputs, stage.inputs)})"
    missing = [name for name in stage.makes if not (stage.folder / name).exists()]
    if record.finished and missing:
        return f"{missing[0]} is missing"
    return _altered(stage.folder) if record.finished else ""


def _altered(folder: Path) -> str:
    """What no longer is as the folder's manifest has it; "" where all is, or it has none."""
    try:
        if manifest := read_manifest(folder):
            check_folder(folder, manifest)
    except CheckpointError as error:
        return str(error)
    return ""


def _holds_work(folder: Path) -> bool:
    """Whether the folder holds more than the mark of a try that did not get going."""
    return folder.exists() and any(p.name not in (STAGE, CONFIG, LOCK) for p in folder.iterdir())


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    keys = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    named = ", ".join(_change(key, old.get(key), new.get(key)) for key in keys[:4])
    return f"{named}, …" if len(keys) > 4 else named


def _change(key: str, old: Any, new: Any) -> str:
    """`kl_coef 0.1 -> 0.2`; of hashes and lists only the key."""
    short = all(isinstance(value, int | float) or len(str(value)) < 24 for value in (old, new))
    return f"{key} {old} -> {new}" if short else key


def _write_stage(stage: Stage, done: Mapping[str, float], *, finished: bool) -> None:
    content = {"finished": finished, "done": dict(done), "inputs": dict(stage.inputs)}
    write_atomically(stage.folder / STAGE, json.dumps(content, indent=2) + "\n")
