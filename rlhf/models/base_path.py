"""Where the base of a LoRA adapter is: written so that it is found again, named where it is not."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlhf.errors import CheckpointError
from rlhf.manifest import read_manifest


def lasting_path(model: str) -> str:
    """A model's folder as an absolute path, which holds from any directory; a hub id as it is."""
    return str(Path(model).resolve()) if Path(model).is_dir() else model


def is_gone(adapter: Path, base: str) -> bool:
    """Whether the base is a folder that is not there, and so is not to be asked of the hub.

    A relative path of one slash looks like a hub id. The adapter's manifest names the folders that
    it was built on.
    """
    if base and Path(base).is_dir():
        return False
    manifest = read_manifest(adapter)
    is_path = base.startswith((".", "~", os.sep)) or base.count("/") > 1
    return not base or is_path or (manifest is not None and base in manifest.built_on)


@contextmanager
def as_base_of(adapter: Path, base: str) -> Iterator[None]:
    """While open, say of a base that does not load that it is this adapter's, and what to do.

    Raises:
        CheckpointError: it is not there, or what went wrong inside.
    """
    if is_gone(adapter, base):
        raise CheckpointError(_sentence(adapter, base, "which is not here"))
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(_sentence(adapter, base, str(error).rstrip("."))) from error


def _sentence(adapter: Path, base: str, why: str) -> str:
    return (
        f"{adapter} is a LoRA adapter on {base or 'a model it does not name'}, {why}; write where "
        f"that base is now into base_model_name_or_path of {adapter / 'adapter_config.json'} "
        "(`rlhf chat`, `rlhf serve` and `rlhf merge` also take --base)."
    )
