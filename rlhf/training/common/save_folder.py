"""The folder that `save` of a trainer writes to."""

from collections.abc import Sequence
from pathlib import Path

from rlhf.errors import CheckpointError, ConfigError
from rlhf.manifest import MANIFEST, read_manifest
from rlhf.models.adapter_folder import adapter_base
from rlhf.runtime.paths import expand_home, nearest_existing
from rlhf.training.common.arguments import check_path

# Files of which one at least is in every folder that save_pretrained wrote, or that the hub holds.
OF_A_MODEL = (
    *("README.md", "config.json", "adapter_config.json", "tokenizer_config.json"),
    *("*.safetensors", "*.bin", "*.gguf"),
)


def folder_to_save(
    folder: str | Path | None, run_folder: Path, *, inputs: Sequence[str], stage: str
) -> Path:
    """The folder to save a model to; `run_folder` itself for None and for every path to it.

    Args:
        folder: the argument of `save`; `~` is the user's home.
        run_folder: of the trainer.
        inputs: folders or hub ids of the models that the run was built on.
        stage: of the model to save, as its manifest names it.

    Raises:
        ConfigError: no path, a file, a model that the run was built on, or a folder with a model
            that another stage or another program wrote.
    """
    if folder is None:
        return run_folder
    check_path("save: folder", folder, instead="the path of a folder")
    target = Path(expand_home(folder))
    if target.resolve() == run_folder.resolve():
        return run_folder
    lowest = nearest_existing(target)
    if not lowest.is_dir():
        raise ConfigError(
            f"save: {target} cannot be a folder, because {lowest} is a file; name another folder.",
            code="file-exists",
        )
    if target.resolve() in _folders_of(inputs):
        raise ConfigError(
            f"save: {target} has a model that the run was built on, which would be replaced; "
            "name another folder.",
            code="file-exists",
        )
    others = [path.name for pattern in OF_A_MODEL for path in target.glob(pattern)]
    if others and not (target / MANIFEST).is_file():
        raise ConfigError(
            f"save: {target} already has {others[0]} but no {MANIFEST}, so its files are not from "
            "an earlier save and would be replaced; name another folder.",
            code="file-exists",
        )
    if (target / MANIFEST).is_file() and (earlier := _stage_of(target)) != stage:
        raise ConfigError(
            f"save: {target} has a model of stage {earlier}, and this one is of stage {stage}, so "
            "it is not from an earlier save and would be replaced; name another folder.",
            code="file-exists",
        )
    return target


def _folders_of(models: Sequence[str]) -> set[Path]:
    """The folders of the models, and of the bases of those that are adapters."""
    bases = [base for model in models if (base := adapter_base(model)) is not None]
    return {Path(model).resolve() for model in (*models, *bases)}


def _stage_of(folder: Path) -> str:
    """The stage in the folder's manifest; `unknown` where that is a file of another program."""
    try:
        manifest = read_manifest(folder)
    except CheckpointError:
        return "unknown"
    return "unknown" if manifest is None else manifest.stage
