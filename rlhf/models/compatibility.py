"""Checks of a model before a stage builds on it. They load no weights."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

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
    """The manifest of a model to build on, checked against its files; None where it has none.

    Raises:
        CheckpointError: the folder is an unfinished run, or changed after its manifest was written;
            or it is a LoRA adapter whose base has other weights now.
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
                f"{folder} holds a run that did not finish; resume it "
                "(--resume_from_checkpoint latest) or name a checkpoint in it.",
                code="not-a-model",
            )
        return None
    check_folder(folder, manifest)
    return manifest


def load_checked_tokenizer(
    model: str | Path,
    chat_template: str,
    *,
    template_kwargs: Mapping[str, object] | None = None,
    judges: bool = False,
    samples: bool = True,
) -> tuple[ChatTokenizer, Manifest | None]:
    """The tokenizer of a model to build on, and its manifest, after all checks without weights.

    Args:
        model: a folder or hub id.
        chat_template: auto, none, or a Jinja file.
        template_kwargs: variables of the template; None takes those the model was trained with.
        judges: whether it is a reward model, whose template may write anything after a response.
        samples: whether responses are sampled from the model.

    Raises:
        CheckpointError: an unfinished or altered folder, another chat template or other stop ids
            than the model was trained with, a tokenizer larger than the model, a recurrent model
            to sample from.
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
    """`chat`, with a note if its template has other variables than the model was trained with.

    That is allowed: a model may be trained with thoughts and served without.
    """
    if manifest is None or dict(chat.template_kwargs) == manifest.chat_template_kwargs:
        return chat
    note = (
        f"chat_template_kwargs is {dict(chat.template_kwargs)}; the model was trained with "
        f"{manifest.chat_template_kwargs}."
    )
    return replace(chat, notes=(*chat.notes, note))


def check_chat(path: str | Path, manifest: Manifest | None, chat: ChatTokenizer) -> None:
    """Check that chat template and stop ids are those that the model at `path` was trained with.

    Raises:
        CheckpointError: naming what differs.
    """
    if manifest is None:
        return
    if (manifest.chat_template_source == "none") != (chat.template_source == "none"):
        trained, used = _format(manifest.chat_template_source), _format(chat.template_source)
        raise CheckpointError(
            f"{path} was trained on {trained} prompts and this run uses {used} prompts; set "
            f"chat_template: {'none' if trained == 'raw' else 'auto'}.",
            code="template-mismatch",
        )
    if manifest.chat_template_sha256 != template_hash(chat):
        raise CheckpointError(
            f"{path} was trained with another chat template; "
            "set chat_template: auto to keep its own.",
            code="template-mismatch",
        )
    if set(manifest.eos_token_ids) != set(chat.eos_token_ids):
        raise CheckpointError(
            f"{path} was trained to stop at ids {list(manifest.eos_token_ids)}, but its files now "
            f"name {list(chat.eos_token_ids)}; restore its tokenizer and generation_config.json.",
            code="tokenizer-mismatch",
        )


def check_same_format(
    policy: str | Path, chat: ChatTokenizer, reward: str | Path, reward_chat: ChatTokenizer
) -> None:
    """Check that policy and reward model both read chats, or both read raw text.

    Raises:
        CheckpointError: naming both.
    """
    if (chat.template_source == "none") != (reward_chat.template_source == "none"):
        raise CheckpointError(
            f"{policy} reads {_format(chat.template_source)} prompts and {reward} reads "
            f"{_format(reward_chat.template_source)} ones; train both with the same chat_template.",
            code="template-mismatch",
        )


def template_hash(chat: ChatTokenizer) -> str:
    """The `hash_chat_template` of a folder that this tokenizer is saved in."""
    template = saved_tokenizer(chat).chat_template
    if isinstance(template, dict):
        template = template.get("default")
    return hash_text(template) if template else ""


def _format(template_source: str) -> str:
    return "raw" if template_source == "none" else "chat"
