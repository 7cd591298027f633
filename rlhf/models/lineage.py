"""The weights that a model was built on, and whether they have changed."""

from functools import cache
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from rlhf.errors import CheckpointError
from rlhf.manifest import MANIFEST, Manifest, check_folder, hash_weights, read_manifest
from rlhf.runtime.run_folder import checkpoints

MERGED_BASE = "merged_base"  # a folder in a run folder, and the stage of its manifest


def local_folder(model: str | Path) -> Path | None:
    """The folder of a model's files: itself, or its snapshot in the hub's cache; else None."""
    if Path(model).is_dir():
        return Path(model)
    if str(model).count("/") > 1 or str(model).startswith(("/", ".")):
        return None
    cached = try_to_load_from_cache(str(model), "config.json")
    return Path(cached).parent if isinstance(cached, str) else None


def weights_of(model: str | Path) -> str:
    """The hash of a model's weight files; "" where they are not on this disk."""
    folder = local_folder(model)
    if folder is None:
        return ""
    files = sorted(folder.glob("*.safetensors"))
    stats = [path.stat() for path in files]
    state = ((path.name, s.st_size, s.st_mtime_ns) for path, s in zip(files, stats, strict=True))
    return _hash_once(folder.resolve(), tuple(state))


@cache
def _hash_once(folder: Path, files: tuple[tuple[str, int, int], ...]) -> str:
    # A run needs the hash of the same gigabytes several times.
    return hash_weights(folder)


def has_another_base(folder: Path, base_model: str | Path) -> bool:
    """Whether the model in `folder` was trained from other weights than `base_model` has now.

    False if unknown: the folder has no manifest, or the base is not on this disk.
    """
    manifest, now = read_manifest(folder), weights_of(base_model)
    if manifest is None or "" in (now, manifest.base_model_sha256):
        return False
    return now != manifest.base_model_sha256


def check_base(adapter: Path, base: str | Path) -> None:
    """Check that a base has the weights that the LoRA adapter was trained on.

    An adapter without a manifest, or a base that is not on this disk, cannot be checked.

    Raises:
        CheckpointError: with both hashes and the next step.
    """
    manifest, now = _manifest_of_adapter(adapter), weights_of(base)
    if manifest is None or "" in (now, manifest.base_model_sha256):
        return
    if manifest.base_model_sha256 not in (now, _merged_from(base)):
        raise CheckpointError(
            f"{adapter} is a LoRA adapter trained on {manifest.base_model}, but {base} has other "
            f"weights (sha256 {manifest.base_model_sha256[:12]} then, {now[:12]} now). Restore "
            "that base, name its folder (--base of chat, serve and merge), or train the adapter "
            "again.",
            code="base-mismatch",
        )


def origin(model: str | Path) -> Path:
    """The LoRA folder that a run's `merged_base` was merged from; any other model itself."""
    manifest = read_manifest(Path(model))
    merged = manifest is not None and manifest.stage == MERGED_BASE
    return Path(manifest.base_model if manifest and merged else model).resolve()


def _merged_from(base: str | Path) -> str:
    """The hash of the LoRA adapter that a run's `merged_base` was merged from; else "".

    Raises:
        CheckpointError: its weights changed after its manifest was written.
    """
    manifest = read_manifest(Path(base))
    if manifest is None or manifest.stage != MERGED_BASE:
        return ""
    check_folder(Path(base), manifest)
    return manifest.base_model_sha256


def _manifest_of_adapter(adapter: Path) -> Manifest | None:
    """The adapter's manifest, or that of the run that it is a checkpoint or adapter of."""
    inside = adapter.name == "adapter" or adapter in checkpoints(adapter.parent)
    for folder in (adapter, adapter.parent) if inside else (adapter,):
        if (folder / MANIFEST).is_file():
            return read_manifest(folder)
    return None
