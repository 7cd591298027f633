"""Checkpoints that are whole or not there: written aside, hashed, synced, renamed, verified."""

import json
import os
import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rlhf.errors import CheckpointError
from rlhf.manifest import hash_file, write_atomically
from rlhf.runtime.run_folder import RunConfig, checkpoint_to_resume, checkpoints, step_of

HASHES = "hashes.json"  # file -> sha256, written last; a folder without it was cut off


def save_checkpoint(
    folder: Path, step: int, write: Callable[[Path], None], *, save_total_limit: int
) -> Path:
    """`folder/checkpoint-N`, with what `write` puts into the folder it is given.

    At any moment the folder holds whole checkpoints only: an older one is deleted after the
    new one was read back and verified. Call it on one process.
    """
    final = folder / f"checkpoint-{step}"
    for cut_off in folder.glob(".checkpoint-*.writing"):
        shutil.rmtree(cut_off)
    temporary = folder / f".checkpoint-{step}.writing"
    temporary.mkdir(parents=True)
    write(temporary)
    seal_checkpoint(temporary)
    if final.exists():  # left by a run that was torn here, or by an earlier, longer one
        shutil.rmtree(final)
    temporary.rename(final)
    _sync(folder)
    verify_checkpoint(final)
    # A torn checkpoint of a later step may lie there: it does not count as one that is kept.
    whole = [path for path in checkpoints(folder) if step_of(path) <= step]
    for old in whole[:-save_total_limit]:
        shutil.rmtree(old)
    return final


def replace_folder(final: Path, write: Callable[[Path], None]) -> None:
    """`final` with what `write` puts into the folder it is given, sealed, verified.

    The old one goes only when the new one is whole. Call it on one process.
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
    """Put the files on the disk, and their hashes beside them, last: the folder is whole now.

    For checkpoints that another library writes under their final name, this is what tells a
    whole one from one that was cut off.
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
    """Read every file and compare it with the hashes written beside it.

    Raises:
        CheckpointError: naming the first file that is missing or differs.
    """
    try:
        hashes = json.loads((checkpoint / HASHES).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{checkpoint} is torn: {HASHES} is missing or cut off.") from error
    for name, recorded in hashes.items():
        path = checkpoint / name
        if not path.is_file() or hash_file(path) != recorded:
            state = "differs from what was written" if path.is_file() else "is missing"
            raise CheckpointError(f"{checkpoint} is torn: {name} {state}.")


def checkpoint_of_run(run: RunConfig) -> tuple[Path | None, list[str]]:
    """The checkpoint to go on from (None: start from the beginning), and what to say about it.

    `latest` takes the newest one that verifies; torn ones are named and passed over.

    Raises:
        CheckpointError: the folder that was named is missing or torn, or output_dir holds a later
            one.
    """
    if run.resume_from_checkpoint is None:
        return None, []
    newest, torn = _newest_whole(Path(run.output_dir))
    if run.resume_from_checkpoint != "latest":
        named = checkpoint_to_resume(run)
        assert named is not None
        verify_checkpoint(named)
        _refuse_going_back(named, newest)
        return named, [f"goes on from {named}"]
    if newest is None:
        return None, [*torn, "no checkpoint yet; starts at the beginning"]
    return newest, [*torn, f"goes on from {newest}"]


def _newest_whole(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that verifies; what is wrong with those after it."""
    torn = []
    for checkpoint in reversed(checkpoints(folder)):
        try:
            verify_checkpoint(checkpoint)
        except CheckpointError as error:
            torn.append(f"{error} The one before it is used.")
        else:
            return checkpoint, torn
    return None, torn


def _refuse_going_back(named: Path, newest: Path | None) -> None:
    """Refuse `named` where output_dir holds a whole checkpoint of a later step.

    That one belongs to the steps that are given up, and after the next interruption `latest`
    would go on with them.
    """
    known = named in checkpoints(named.parent)  # a copy may have any name
    if known and newest is not None and step_of(newest) > step_of(named):
        raise CheckpointError(
            f"{newest} is later than {named} and `latest` would go on from it after an "
            "interruption; move it away, or name another output_dir."
        )


def check_same_run(checkpoint: Path, written: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of a run whose next steps would not be those of this one.

    written, now: what decides the steps, by name.

    Raises:
        CheckpointError: the first that differs, and what to do.
    """
    for name, value in now.items():
        if written.get(name) != value:
            raise CheckpointError(
                f"{checkpoint} was written with {name} {written.get(name)}, this run has {value}: "
                "its steps would not be the same; give the same or start in another output_dir.",
                code="other-run",
            )


def random_state() -> dict[str, Any]:
    """This process's random generators, as torch.load takes them with weights_only=True."""
    numpy_state: Any = np.random.get_state(legacy=False)  # noqa: NPY002 (others' code draws from it)
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy_key": torch.from_numpy(numpy_state["state"]["key"].astype(np.int64)),
        "numpy_position": int(numpy_state["state"]["pos"]),
        "numpy_gauss": (int(numpy_state["has_gauss"]), float(numpy_state["gauss"])),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: dict[str, Any]) -> None:
    """Put this process's generators where `random_state` saw them."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    numpy_state: Any = np.random.get_state(legacy=False)  # noqa: NPY002
    numpy_state["state"]["key"] = state["numpy_key"].numpy().astype(np.uint32)
    numpy_state["state"]["pos"] = state["numpy_position"]
    numpy_state["has_gauss"], numpy_state["gauss"] = state["numpy_gauss"]
    np.random.set_state(numpy_state)  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def _sync(path: Path) -> None:
    """Through to the disk; a folder's sync makes the names in it durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
