"""A model of the hub at a revision, as the folder of its files."""

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from huggingface_hub import snapshot_download

from rlhf.errors import ConfigError
from rlhf.models.config import BackboneConfig
from rlhf.runtime.distributed import on_main_process

Backbone = TypeVar("Backbone", bound=BackboneConfig)
FILES = ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja"]


def at_revision(config: Backbone) -> Backbone:
    """The configuration with the folder of `model_revision`'s files as its model.

    The files are downloaded to the hub's cache if they are not there. A branch or tag may move
    later; the folder's name is the commit, and config.yaml records it. Call it on all processes;
    the first one downloads.

    Raises:
        ConfigError: the hub or its cache does not have the revision; a revision of a local folder.
    """
    model, revision = config.model_name_or_path, config.model_revision
    if revision is None:
        return config
    if Path(model).exists():
        raise ConfigError(
            f"model_revision={revision}: {model} is a folder on this machine, which has one "
            "version; leave model_revision out.",
            code="key-conflict",
        )
    on_main_process(lambda: _snapshot(model, revision))
    return replace(config, model_name_or_path=_snapshot(model, revision), model_revision=None)


def _snapshot(model: str, revision: str) -> str:
    """The folder of the revision's files."""
    try:
        return str(snapshot_download(model, revision=revision, allow_patterns=FILES))
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ConfigError(
            f"model_revision={revision}: the hub does not give this revision of {model} "
            f"({reason.rstrip('.')}); name one of its branches, tags or commits.",
            code="bad-hub-id",
        ) from error
