"""The seam between stages: what the next one refuses before it loads a weight."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import CheckpointError
from rlhf.manifest import Manifest, check_folder, hash_text, read_manifest
from rlhf.models.adapter_folder import adapter_base
from rlhf.models.lineage import check_base
from rlhf.models.recurrent import check_not_recurrent
from rlhf.models.save import saved_tokenizer
from rlhf.models.tokenizer import tokenizer_of_model
from rlhf.runtime.run_folder import CONFIG


def check_input_model(path: str | Path) -> Manifest | None:
    """The manifest of a model to build on, checked against its files; None for one from elsewhere.

    Raises:
        CheckpointError: the folder is an unfinished run, or changed after its manifest; or it is a
            LoRA adapter whose base is another model by now.
    """
    folder = Path(path)
    if not folder.is_dir():
        return None
    if base := adapter_base(folder):
        check_base(folder, base)
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
    model: str | Path,
    chat_template: str,
    *,
    template_kwargs: Mapping[str, Any] | None = None,
    judges: bool = False,
    samples: bool = True,
) -> tuple[ChatTokenizer, Manifest | None]:
    """The tokenizer of a model to build on, after every check that needs no weights.

    `judges`: a reward model's, whose template may go on after an answer as it likes. `samples`:
    whether a policy is to write answers.

    Raises:
        CheckpointError: an unfinished or altered folder, another chat template or other stop ids
            than it was trained with, a tokenizer larger than the model, a recurrent model that
            is to write answers.
        ConfigError: a template that cannot be used.
    """
    manifest = check_input_model(model)
    chat = tokenizer_of_model(model, chat_template, template_kwargs=template_kwargs, judges=judges)
    chat = noting_other_kwargs(chat, manifest)
    if samples and not judges:
        check_not_recurrent(model)
    check_chat(model, manifest, chat)
    return chat, manifest


def noting_other_kwargs(chat: ChatTokenizer, manifest: Manifest | None) -> ChatTokenizer:
    """`chat`, with a note where its template has other variables than the model was trained with.

    It is a choice, not a mistake: a model may be trained with thoughts and served without.
    """
    if manifest is None or dict(chat.template_kwargs) == manifest.chat_template_kwargs:
        return chat
    note = (
        f"chat_template_kwargs is {dict(chat.template_kwargs)}; the model was trained with "
        f"{manifest.chat_template_kwargs}."
    )
    return replace(chat, notes=(*chat.notes, note))


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


def _format(template_source: str) -> str:
    return "raw" if template_source == "none" else "chat"
