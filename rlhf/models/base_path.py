"""The path of a LoRA adapter's base, and the error where it is missing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlhf.errors import CheckpointError
from rlhf.manifest import read_manifest


def lasting_path(model: str) -> str:
    """The absolute path of a model's folder; a hub id unchanged."""
    return str(Path(model).resolve()) if Path(model).is_dir() else model


def is_gone(adapter: Path, base: str) -> bool:
    """Whether the base is a folder that does not exist, and must not be looked up on the hub.

    A relative path with one slash looks like a hub id. The adapter's manifest names the folders
    that it was built on.
    """
    if base and Path(base).is_dir():
        return False
    manifest = read_manifest(adapter)
    is_path = base.startswith((".", "~", os.sep)) or base.count("/") > 1
    return not base or is_path or (manifest is not None and base in manifest.built_on)


@contextmanager
def as_base_of(adapter: Path, base: str) -> Iterator[None]:
    """Add the adapter and the next step to an error of loading its base inside `with`.

    Raises:
        CheckpointError: the base does not exist or does not load.
    """
    if is_gone(adapter, base):
        raise CheckpointError(_message(adapter, base, "which does not exist"), code="missing-file")
    try:
        yield
    except CheckpointError as error:
        message = _message(adapter, base, str(error).rstrip("."))
        raise CheckpointError(message, code=error.code) from error


def _message(adapter: Path, base: str, why: str) -> str:
    return (
        f"{adapter} is a LoRA adapter on {base or 'an unnamed model'}, {why}; write the path of "
        f"that base to base_model_name_or_path of {adapter / 'adapter_config.json'} "
        "(`rlhf chat`, `rlhf serve` and `rlhf merge` also take --base)."
    )
