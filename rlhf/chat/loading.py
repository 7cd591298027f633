"""Find the policy in what a person names, and load it the way it was trained."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rlhf.data.tokenizer import ChatTokenizer, check_vocabulary, load_tokenizer
from rlhf.errors import CheckpointError
from rlhf.manifest import Manifest, check_folder, hash_text, read_manifest
from rlhf.models.load import adapter_base, load_config, load_policy
from rlhf.run_folder import checkpoints

# Where a policy lies inside what holds it, the first that is there: a checkpoint's own folder
# for it, then the stages of a whole run, the last first.
INSIDE = ("policy", "ppo", "sft")


@dataclass(frozen=True, kw_only=True)
class ChatModel:
    """A policy ready to talk."""

    name: str  # folder or hub id it was loaded from
    model: Any
    chat: ChatTokenizer
    positions: int | None  # tokens that prompt and answer may have together; None: no limit
    facts: tuple[str, ...]  # what it is and how it is spoken to, a line each
    warnings: tuple[str, ...]  # where that is not how it was trained


def load_chat_model(path: str, *, chat_template: str = "auto") -> ChatModel:
    """The policy in `path`: a model, a LoRA adapter, a run or chain folder, a checkpoint, a hub id.

    Raises:
        CheckpointError: no policy there, a reward model, or files that changed after the
            folder's manifest was written.
    """
    found = find_policy(path)
    manifest = read_manifest(found) if found else None
    if found and manifest:
        check_folder(found, manifest)
    name = str(found or path)
    _refuse_reward_model(name)
    chat = load_tokenizer(name, chat_template)
    config = load_config(name)
    check_vocabulary(config, chat)
    on_gpu = torch.cuda.is_available()
    model: Any = load_policy(name, dtype=torch.bfloat16 if on_gpu else torch.float32)
    return ChatModel(
        name=name,
        model=model.to("cuda" if on_gpu else "cpu").eval(),
        chat=chat,
        positions=getattr(config.get_text_config(), "max_position_embeddings", None),
        facts=_facts(name, model, chat, manifest),
        warnings=tuple(_differences(chat, manifest)),
    )


def find_policy(path: str) -> Path | None:
    """The folder of the policy that `path` holds; None where `path` is no folder (a hub id).

    Raises:
        CheckpointError: no such folder, or one without a policy anywhere in it.
    """
    folder = Path(path)
    if not folder.is_dir():
        # A hub id is owner/name; asking the hub for a mistyped folder takes half a minute.
        if path.count("/") != 1 or folder.is_absolute() or folder.parent.is_dir():
            raise CheckpointError(f"{path}: no such folder; name a folder or a hub id owner/name.")
        return None
    if (folder / "config.json").is_file() or adapter_base(folder) is not None:
        return folder
    inside = [folder / name for name in INSIDE if (folder / name).is_dir()]
    for candidate in [*inside, *reversed(checkpoints(folder))]:
        try:
            return find_policy(str(candidate))
        except CheckpointError:
            continue
    raise CheckpointError(
        f"{folder} holds no model (no config.json, adapter_config.json or checkpoint-N); name the "
        "folder of a finished stage, such as runs/pocket/ppo."
    )


def _refuse_reward_model(name: str) -> None:
    # It would load, with a fresh language-model head, and babble.
    architectures = getattr(load_config(name), "architectures", None) or []
    if any("SequenceClassification" in architecture for architecture in architectures):
        raise CheckpointError(f"{name} is a reward model, which scores and does not talk.")


def _facts(
    name: str, model: Any, chat: ChatTokenizer, manifest: Manifest | None
) -> tuple[str, ...]:
    base = adapter_base(name)
    stage = f", made by {manifest.stage}" if manifest else ", no manifest beside it"
    adapter = f", LoRA on {base}" if base is not None else ""
    stops = ", ".join(
        f"{i} {chat.tokenizer.convert_ids_to_tokens(i)!r}" for i in chat.eos_token_ids
    )
    template = "none: what you type is continued" if chat.raw else chat.template_source
    return (
        f"{name}: {model.num_parameters():,} parameters{adapter}{stage}",
        f"chat template: {template}; stops at {stops}",
        *chat.notes,
    )


def _differences(chat: ChatTokenizer, manifest: Manifest | None) -> list[str]:
    """What is not as the manifest says the model was trained."""
    if manifest is None:
        return []
    found = []
    template = "" if chat.raw else hash_text(str(chat.tokenizer.chat_template))
    if template != manifest.chat_template_sha256:
        found.append("this is not the chat template that the model was trained with")
    if set(chat.eos_token_ids) != set(manifest.eos_token_ids):
        found.append(f"the model was trained to stop at {list(manifest.eos_token_ids)}")
    return found
