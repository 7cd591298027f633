"""What is left to do when a model lies in its run folder: card, manifest, table, hub."""

import json
from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import HfApi
from rich.table import Table

from rlhf.errors import TrainingError
from rlhf.manifest import Manifest, write_manifest
from rlhf.runtime.distributed import print_once
from rlhf.runtime.printing import plain_console
from rlhf.runtime.process_activity import excused
from rlhf.runtime.run_lock import LOCK
from rlhf.training.common.model_card import write_model_card

LEFT_OUT = ["checkpoint-*", "best/*", "samples/*", "rejected.jsonl", LOCK]


def publish(
    folder: Path,
    manifest: Manifest,
    *,
    title: str,
    figures: Mapping[str, str],
    loads_with: str,
    places: Mapping[str, object],
) -> None:
    """Write model card and manifest, print the table of `figures` and `places`.

    The manifest comes after everything else that is written: a folder that has one is finished.
    `loads_with` is the transformers class that reads the model. Call it on one process.
    """
    usage = f"{loads_with}.from_pretrained({json.dumps(folder.name, ensure_ascii=False)})"
    write_model_card(
        folder, manifest, title=f"{folder.name}: {title}", figures=figures, usage=usage
    )
    write_manifest(folder, manifest)
    table = Table("figure", "value", title=title)
    for name, value in {**figures, "model": folder, **places}.items():
        table.add_row(name, str(value))
    plain_console().print(table)


def push_to_hub(folder: Path, hub_id: str | None) -> None:
    """Upload the folder's model, tokenizer, manifest, metrics and reports, where `hub_id` says to.

    The last thing that a run does: what is said of a model goes with it. Call it on one process.

    Raises:
        TrainingError: the hub refused or could not be reached; the folder is whole and can be
            uploaded again.
    """
    if hub_id is None:
        return
    api = HfApi()
    try:
        with excused():  # the other ranks wait, and a slow line looks like a hang
            address = api.create_repo(hub_id, exist_ok=True)
            api.upload_folder(folder_path=folder, repo_id=hub_id, ignore_patterns=LEFT_OUT)
    except Exception as error:  # HTTP, network and token errors have no common parent
        raise TrainingError(
            f"push_to_hub {hub_id}: {type(error).__name__}: {error}; {folder} is complete, "
            f"upload it with `hf upload {hub_id} {folder}`."
        ) from error
    print_once(f"uploaded to {address}")
