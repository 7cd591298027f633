"""The last steps of a stage: model card, manifest, table of metrics, upload to the hub."""

import json
from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import HfApi
from rich.table import Table

from rlhf.errors import TrainingError
from rlhf.manifest import Manifest, write_manifest
from rlhf.runtime.distributed import is_silenced, print_once
from rlhf.runtime.printing import plain_console
from rlhf.runtime.process_activity import excused
from rlhf.runtime.run_lock import LOCK
from rlhf.training.common.model_card import write_model_card

NOT_UPLOADED = ["checkpoint-*", "best/*", "samples/*", "rejected.jsonl", LOCK]


def publish(
    folder: Path,
    manifest: Manifest,
    *,
    title: str,
    metrics: Mapping[str, str],
    loads_with: str,
    places: Mapping[str, object],
) -> None:
    """Write model card and manifest, and print a table of metrics and places.

    The manifest is the last file that is written: a folder that has one is finished. Call it on one
    process.

    Args:
        folder: the folder with the saved model.
        manifest: its manifest.
        title: name of the stage, for the card and the table.
        metrics: metrics of the run, as text.
        loads_with: the transformers class that loads the model.
        places: further lines of the table: files and commands.
    """
    usage = f"{loads_with}.from_pretrained({json.dumps(folder.name, ensure_ascii=False)})"
    write_model_card(
        folder, manifest, title=f"{folder.name}: {title}", metrics=metrics, usage=usage
    )
    write_manifest(folder, manifest)
    if is_silenced():
        return
    table = Table("metric", "value", title=title)
    for name, value in {**metrics, "model": folder, **places}.items():
        table.add_row(name, str(value))
    plain_console().print(table)


def push_to_hub(folder: Path, hub_id: str | None) -> None:
    """Upload the folder's model, tokenizer, manifest, metrics and reports to `hub_id`, if any.

    It is the last step of a run, so that the reports are uploaded too. Call it on one process.

    Raises:
        TrainingError: the hub rejected the upload or could not be reached; the folder is complete
            and can be uploaded again.
    """
    if hub_id is None:
        return
    api = HfApi()
    try:
        with excused():  # the other ranks wait, and a slow upload looks like a hang
            address = api.create_repo(hub_id, exist_ok=True)
            api.upload_folder(folder_path=folder, repo_id=hub_id, ignore_patterns=NOT_UPLOADED)
    except Exception as error:  # HTTP, network and token errors have no common parent
        raise TrainingError(
            f"push_to_hub {hub_id}: {type(error).__name__}: {error}; {folder} is complete, "
            f"upload it with `hf upload {hub_id} {folder}`.",
            code="upload-failed",
        ) from error
    print_once(f"uploaded to {address}")
