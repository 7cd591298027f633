"""The seam between stages: what a stage writes into its manifest, what the next one refuses."""

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from rlhf.config import as_yaml
from rlhf.data.tokenizer import ChatTokenizer
from rlhf.errors import CheckpointError
from rlhf.manifest import (
    MANIFEST,
    DataUse,
    Manifest,
    check_folder,
    git_commit,
    hash_chat_template,
    hash_file,
    hash_text,
    hash_tokenizer,
    hash_weights,
    package_versions,
    read_manifest,
)
from rlhf.models.save import saved_tokenizer
from rlhf.models.tokenizer import tokenizer_of_model
from rlhf.run_folder import CONFIG


def stage_manifest(
    folder: Path,
    *,
    stage: str,
    base_model: str,
    chat: ChatTokenizer,
    seed: int,
    world_size: int,
    data: Sequence[DataUse],
    configs: Sequence[object],
    built_on: Sequence[str | Path] = (),
    reward_mean: float | None = None,
    reward_std: float | None = None,
) -> Manifest:
    """The manifest of a stage whose final model and tokenizer already lie in `folder`.

    `base_model` is what was trained, as the configuration names it; `configs` are the stage's
    dataclasses; of the models in `built_on` those with a manifest are recorded with its hash.
    """
    return Manifest(
        stage=stage,
        base_model=base_model,
        base_model_sha256=_weights_of(base_model),
        weights_sha256=hash_weights(folder),
        tokenizer_sha256=hash_tokenizer(folder),
        chat_template_sha256=hash_chat_template(folder),
        chat_template_source=chat.template_source,
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


def check_input_model(path: str | Path) -> Manifest | None:
    """The manifest of a model to build on, checked against its files; None for one from elsewhere.

    Raises:
        CheckpointError: the folder is an unfinished run, or changed after its manifest.
    """
    folder = Path(path)
    if not folder.is_dir():
        return None
    manifest = read_manifest(folder)
    if manifest is None:
        if (folder / CONFIG).is_file() and not (folder / "config.json").is_file():
            raise CheckpointError(
                f"{folder} holds a run that did not finish; go on with it "
                "(--resume_from_checkpoint latest) or name a checkpoint in it."
            )
        return None
    check_folder(folder, manifest)
    return manifest


def load_checked_tokenizer(
    model: str | Path, chat_template: str, *, judges: bool = False
) -> tuple[ChatTokenizer, Manifest | None]:
    """The tokenizer of a model to build on, after every check that needs no weights.

    `judges`: a reward model is built, whose template may go on after an answer as it likes.

    Raises:
        CheckpointError: an unfinished or altered folder, another chat template or other stop ids
            than it was trained with, a tokenizer larger than the model.
        ConfigError: a template that cannot be used.
    """
    manifest = check_input_model(model)
    chat = tokenizer_of_model(model, chat_template, judges=judges)
    check_chat(model, manifest, chat)
    return chat, manifest


def check_chat(path: str | Path, manifest: Manifest | None, chat: ChatTokenizer) -> None:
    """Refuse a chat template or stop ids other than those the model at `path` was trained with.

    Raises:
        CheckpointError: what differs, in one sentence.
    """
    if manifest is None:
        return
    if (manifest.chat_template_source == "none") != (chat.template_source == "none"):
        trained, asked = _format(manifest.chat_template_source), _format(chat.template_source)
        raise CheckpointError(
            f"{path} was trained on {trained} prompts and this run uses {asked} ones; set "
            f"chat_template: {'none' if trained == 'raw' else 'auto'}."
        )
    if manifest.chat_template_sha256 != template_hash(chat):
        raise CheckpointError(
            f"{path} was trained with another chat template; "
            "set chat_template: auto to keep its own."
        )
    if set(manifest.eos_token_ids) != set(chat.eos_token_ids):
        raise CheckpointError(
            f"{path} was trained to stop at ids {list(manifest.eos_token_ids)}, its files now say "
            f"{list(chat.eos_token_ids)}; restore its tokenizer and generation_config.json."
        )


def check_same_format(
    policy: str | Path, chat: ChatTokenizer, reward: str | Path, reward_chat: ChatTokenizer
) -> None:
    """Refuse a policy and a reward model of which one reads chats and the other raw text.

    Raises:
        CheckpointError: naming both.
    """
    if (chat.template_source == "none") != (reward_chat.template_source == "none"):
        raise CheckpointError(
            f"{policy} reads {_format(chat.template_source)} prompts and {reward} reads "
            f"{_format(reward_chat.template_source)} ones; train both with the same chat_template."
        )


def template_hash(chat: ChatTokenizer) -> str:
    """What `hash_chat_template` gives for a folder that this tokenizer is saved in."""
    template = saved_tokenizer(chat).chat_template
    if isinstance(template, dict):
        template = template.get("default")
    return hash_text(template) if template else ""


def local_folder(model: str | Path) -> Path | None:
    """The folder that holds a model's files: itself, or its snapshot in the hub's cache."""
    if Path(model).is_dir():
        return Path(model)
    if str(model).count("/") > 1 or str(model).startswith(("/", ".")):
        return None
    cached = try_to_load_from_cache(str(model), "config.json")
    return Path(cached).parent if isinstance(cached, str) else None


def _format(template_source: str) -> str:
    return "raw" if template_source == "none" else "chat"


def _weights_of(model: str | Path) -> str:
    folder = local_folder(model)
    return hash_weights(folder) if folder else ""


def _manifest_hashes(folders: Sequence[str | Path]) -> dict[str, str]:
    paths = [Path(folder) / MANIFEST for folder in folders]
    return {str(path.parent): hash_file(path) for path in paths if path.is_file()}
