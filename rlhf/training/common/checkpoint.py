"""Checkpoints that are complete or absent: staged, hashed, synced, renamed, verified."""

import json
import os
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
import torch
from torch import Tensor

from rlhf.errors import CheckpointError
from rlhf.manifest import hash_file, write_atomically
from rlhf.runtime.run_folder import LATEST, RunConfig, checkpoint_to_resume, checkpoints, step_of

HASHES = "hashes.json"  # file -> sha256, written last; a folder without it is incomplete


def save_checkpoint(
    folder: Path, step: int, write: Callable[[Path], None], *, save_total_limit: int
) -> Path:
    """Write `folder/checkpoint-N` and return it; `write` fills the folder that it is given.

    The folder holds only complete checkpoints at any moment: an older one is deleted after the new
    one was read back and verified. Call it on one process.
    """
    final = folder / f"checkpoint-{step}"
    for incomplete in folder.glob(".checkpoint-*.writing"):
        shutil.rmtree(incomplete)
    temporary = folder / f".checkpoint-{step}.writing"
    temporary.mkdir(parents=True)
    write(temporary)
    seal_checkpoint(temporary)
    if final.exists():  # left by a run that was interrupted here, or by a longer one
        shutil.rmtree(final)
    temporary.rename(final)
    _sync(folder)
    verify_checkpoint(final)
    # A torn checkpoint of a later step may exist: it does not count towards the limit.
    complete = [path for path in checkpoints(folder) if step_of(path) <= step]
    for old in complete[:-save_total_limit]:
        shutil.rmtree(old)
    return final


def replace_folder(final: Path, write: Callable[[Path], None]) -> None:
    """Write the folder `final`, sealed and verified; `write` fills the folder that it is given.

    The old folder is deleted only when the new one is complete. Call it on one process.
    """
    temporary = final.parent / f".{final.name}.writing"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    write(temporary)
    seal_checkpoint(temporary)
    verify_checkpoint(temporary)
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)
    _sync(final.parent)


def seal_checkpoint(checkpoint: Path) -> None:
    """Sync the files to the disk, then write their hashes, which mark the folder as complete.

    Another library may write a checkpoint under its final name: the hashes tell a complete one from
    an incomplete one.
    """
    files = sorted(p for p in checkpoint.rglob("*") if p.is_file() and p.name != HASHES)
    for path in files:
        _sync(path)
    hashes = {str(path.relative_to(checkpoint)): hash_file(path) for path in files}
    for inner in sorted(p for p in checkpoint.rglob("*") if p.is_dir()):
        _sync(inner)
    write_atomically(checkpoint / HASHES, json.dumps(hashes, indent=2) + "\n")
    _sync(checkpoint)


def verify_checkpoint(checkpoint: Path) -> None:
    """Compare every file with its recorded hash.

    Raises:
        CheckpointError: a file that is missing or differs.
    """
    if (fault := _fault_of(checkpoint)) is not None:
        raise CheckpointError(
            f"{fault}; use an earlier checkpoint, or `{LATEST}` to resume from the newest complete "
            "one.",
            code="torn-checkpoint",
        )


def _fault_of(checkpoint: Path) -> str | None:
    """What makes a checkpoint torn: a file that is missing or differs; None if it is complete."""
    try:
        hashes = json.loads((checkpoint / HASHES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return f"{checkpoint} is torn: {HASHES} is missing or incomplete"
    for name, recorded in hashes.items():
        path = checkpoint / name
        if not path.is_file() or hash_file(path) != recorded:
            state = "differs from what was written" if path.is_file() else "is missing"
            return f"{checkpoint} is torn: {name} {state}"
    return None


def checkpoint_of_run(run: RunConfig) -> tuple[Path | None, list[str]]:
    """The checkpoint to resume from (None: start at the beginning), and messages about it.

    `latest` takes the newest one that verifies; the messages name torn ones.

    Raises:
        CheckpointError: the named folder is missing or torn, or output_dir holds a later one.
    """
    if run.resume_from_checkpoint is None:
        return None, []
    newest, torn = _newest_whole(Path(run.output_dir))
    if run.resume_from_checkpoint != LATEST:
        named = checkpoint_to_resume(run)
        assert named is not None
        verify_checkpoint(named)
        _check_no_later(named, newest)
        return named, [f"resumes from {named}"]
    if newest is None:
        return None, [*torn, "no checkpoint yet; starts at the beginning"]
    return newest, [*torn, f"resumes from {newest}"]


def _newest_whole(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that verifies, and the faults of those after it."""
    torn: list[str] = []
    for checkpoint in reversed(checkpoints(folder)):
        fault = _fault_of(checkpoint)
        if fault is None:
            return checkpoint, torn
        torn.append(f"{fault}. The one before it is used.")
    return None, torn


def _check_no_later(named: Path, newest: Path | None) -> None:
    """Check that output_dir holds no complete checkpoint of a later step than `named`.

    A later one belongs to the steps that are discarded, and after the next interruption `latest`
    would resume from it.

    Raises:
        CheckpointError: naming both.
    """
    known = named in checkpoints(named.parent)  # a copy may have any name
    if known and newest is not None and step_of(newest) > step_of(named):
        raise CheckpointError(
            f"{newest} is later than {named} and `{LATEST}` would resume from it after an "
            "interruption; move it away, or name another output_dir.",
            code="run-exists",
        )


def check_same_run(
    checkpoint: Path, written: Mapping[str, object], now: Mapping[str, object]
) -> None:
    """Check that the run that wrote a checkpoint would take the same next steps as this one.

    written, now: the settings that determine the steps, by name.

    Raises:
        CheckpointError: the first setting that differs, and the next step.
    """
    for name, value in now.items():
        if written.get(name) != value:
            raise CheckpointError(
                f"{checkpoint} was written with {name} {written.get(name)}, this run has {value}: "
                "its steps would differ; use the same, or start again in another output_dir.",
                code="other-run",
            )


class RandomState(TypedDict):
    """The state of a process's random generators, which torch.load reads with weights_only=True."""

    python: tuple[int, Sequence[int], float | None]
    numpy_key: Tensor
    numpy_position: int
    numpy_gauss: tuple[int, float]
    torch: Tensor
    cuda: NotRequired[Tensor]


def random_state() -> RandomState:
    """The state of this process's random generators."""
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002 (libraries draw from it)
    state: RandomState = {
        "python": random.getstate(),
        "numpy_key": torch.from_numpy(numpy_state["state"]["key"].astype(np.int64)),
        "numpy_position": int(numpy_state["state"]["pos"]),
        "numpy_gauss": (int(numpy_state["has_gauss"]), float(numpy_state["gauss"])),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: RandomState) -> None:
    """Restore this process's generators to a `random_state`."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002
    numpy_state["state"]["key"] = state["numpy_key"].numpy().astype(np.uint32)
    numpy_state["state"]["pos"] = state["numpy_position"]
    numpy_state["has_gauss"], numpy_state["gauss"] = state["numpy_gauss"]
    np.random.set_state(numpy_state)  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def _sync(path: Path) -> None:
    """Write to the disk; the sync of a folder makes the names in it durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
