"""The folder that `save` of a trainer writes to."""

from pathlib import Path

from rlhf.errors import ConfigError
from rlhf.manifest import MANIFEST
from rlhf.training.common.arguments import expand_home

# Files of which one at least is in every folder that save_pretrained wrote, or that the hub holds.
OF_A_MODEL = (
    *("README.md", "config.json", "adapter_config.json", "tokenizer_config.json"),
    *("*.safetensors", "*.bin", "*.gguf"),
)


def folder_to_save(folder: str | Path | None, run_folder: Path, *, base: str) -> Path:
    """The folder to save a model to; `run_folder` itself for None and for every path to it.

    Args:
        folder: the argument of `save`; `~` is the user's home.
        run_folder: of the trainer.
        base: the model that the run started from.

    Raises:
        ConfigError: a file, the model that the run started from, or a folder with a model that
            this package did not write.
    """
    if folder is None:
        return run_folder
    target = Path(expand_home(folder))
    if target.resolve() == run_folder.resolve():
        return run_folder
    lowest = next(path for path in (target, *target.absolute().parents) if path.exists())
    if not lowest.is_dir():
        raise ConfigError(
            f"save: {target} cannot be a folder, because {lowest} is a file; name another folder.",
            code="file-exists",
        )
    if target.resolve() == Path(base).resolve():
        raise ConfigError(
            f"save: {target} has the model that the run started from, which would be replaced; "
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
    return target
