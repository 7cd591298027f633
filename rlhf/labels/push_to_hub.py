"""Upload exported labels and their card to the hub, as a data set."""

from pathlib import Path

from rlhf.errors import ConfigError, TrainingError


def check_hub_id(hub_id: str) -> None:
    """Check the name of a data set before anything is exported.

    Raises:
        ConfigError: the hub would not accept it.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(hub_id)
    except HFValidationError as error:
        raise ConfigError(
            f"push_to_hub={hub_id}: {error}; write owner/name.", code="bad-hub-id"
        ) from error


def push_labels(path: Path, card: str, hub_id: str, *, public: bool) -> str:
    """Upload the file and its card as the data set `hub_id`; returns its address.

    public: whether a new data set can be read by everybody. An existing one stays as it is.

    Raises:
        TrainingError: the hub rejected the upload or could not be reached; the file is complete.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        address = api.create_repo(hub_id, repo_type="dataset", private=not public, exist_ok=True)
        for content, name in ((path, path.name), (card.encode(), "README.md")):
            api.upload_file(
                path_or_fileobj=content, path_in_repo=name, repo_id=hub_id, repo_type="dataset"
            )
    except Exception as error:  # HTTP, network and token errors have no common parent
        raise TrainingError(
            f"push_to_hub {hub_id}: {type(error).__name__}: {error}; {path} is complete, upload it "
            f"with `hf upload {hub_id} {path} --repo-type dataset`.",
            code="upload-failed",
        ) from error
    return str(address)
