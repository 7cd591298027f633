"""The manifest of a stage: which model, data and settings it was made from."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import CheckpointError
from rlhf.manifest import (
    MANIFEST,
    DataUse,
    Manifest,
    git_commit,
    hash_chat_template,
    hash_file,
    hash_text,
    hash_tokenizer,
    hash_weights,
    package_versions,
    read_manifest,
)
from rlhf.models.lineage import has_another_base, weights_of
from rlhf.runtime.config import as_yaml

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def stage_manifest(
    folder: Path,
    *,
    stage: str,
    base_model: str,
    chat: ChatTokenizer,
    seed: int,
    world_size: int,
    data: Sequence[DataUse],
    configs: Sequence["DataclassInstance"],
    built_on: Sequence[str | Path] = (),
    reward_mean: float | None = None,
    reward_std: float | None = None,
) -> Manifest:
    """The manifest of a stage whose final model and tokenizer are already in `folder`.

    Args:
        folder: the model's folder.
        stage: name of the stage: sft, reward_model, ppo, ….
        base_model: the model that was trained, as the configuration names it.
        chat: its tokenizer.
        seed: seed of the run.
        world_size: number of processes.
        data: the data files used.
        configs: the stage's configuration dataclasses.
        built_on: models that the stage read; those with a manifest are recorded with its hash.
        reward_mean: of a normalised reward model.
        reward_std: of a normalised reward model.
    """
    return Manifest(
        stage=stage,
        base_model=base_model,
        base_model_sha256=weights_of(base_model),
        weights_sha256=hash_weights(folder),
        tokenizer_sha256=hash_tokenizer(folder),
        chat_template_sha256=hash_chat_template(folder),
        chat_template_source=chat.template_source,
        chat_template_kwargs=dict(chat.template_kwargs),
        chat_notes=chat.notes,
        reads_thoughts=chat.reads_thoughts,
        pad_token_id=chat.tokenizer.pad_token_id,
        eos_token_ids=tuple(chat.eos_token_ids),
        seed=seed,
        world_size=world_size,
        data=tuple(data),
        reward_mean=reward_mean,
        reward_std=reward_std,
        config_sha256=hash_text(as_yaml(*configs)),
        packages=package_versions(),
        git_commit=git_commit(),
        built_on=_manifest_hashes(built_on),
    )


def check_same_base(checkpoint: Path, base_model: str) -> None:
    """Check that a checkpoint was trained from the weights that `base_model` has now.

    They are PPO's reference model.

    Raises:
        CheckpointError: other weights, and the next step.
    """
    manifest = read_manifest(checkpoint)
    if manifest is not None and has_another_base(checkpoint, base_model):
        raise CheckpointError(
            f"{checkpoint} was trained from {manifest.base_model}, but {base_model} has other "
            "weights: the reference would be another model; give the same model_name_or_path, "
            "and name the checkpoint only in resume_from_checkpoint.",
            code="base-mismatch",
        )


def _manifest_hashes(folders: Sequence[str | Path]) -> dict[str, str]:
    paths = [Path(folder) / MANIFEST for folder in folders]
    return {str(path.parent): hash_file(path) for path in paths if path.is_file()}
