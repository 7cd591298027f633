"""Upload a finished run's model to the hub."""

from pathlib import Path

from huggingface_hub import HfApi

from rlhf.errors import TrainingError

LEFT_OUT = ["checkpoint-*", "samples/*", "rejected.jsonl"]


def push_to_hub(folder: Path, hub_id: str) -> str:
    """Upload the folder's model, tokenizer, manifest and metrics; return the page's address.

    Raises:
        TrainingError: the hub refused or could not be reached; the folder is whole and can be
            uploaded again.
    """
    api = HfApi()
    try:
        address = api.create_repo(hub_id, exist_ok=True)
        api.upload_folder(folder_path=folder, repo_id=hub_id, ignore_patterns=LEFT_OUT)
    except Exception as error:  # HTTP, network and token errors have no common parent
        raise TrainingError(
            f"push_to_hub {hub_id}: {type(error).__name__}: {error}; {folder} is complete, "
            f"upload it with `hf upload {hub_id} {folder}`."
        ) from error
    return str(address)
