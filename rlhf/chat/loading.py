"""Find the policy in what a person names, and load it the way it was trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rlhf.data.tokenization.tokenizer import ChatTokenizer, check_vocabulary, load_tokenizer
from rlhf.errors import CheckpointError
from rlhf.manifest import Manifest, check_folder, read_manifest
from rlhf.models.adapter_folder import adapter_base
from rlhf.models.base_path import is_gone
from rlhf.models.compatibility import noting_other_kwargs, template_hash
from rlhf.models.cpu_kernels.int8 import to_int8
from rlhf.models.lineage import check_base
from rlhf.models.load import load_config, load_policy
from rlhf.models.recurrent import check_not_recurrent
from rlhf.runtime.run_folder import checkpoints

# Where a policy lies inside what holds it, the first that is there: a checkpoint's own folder
# for it, then the stages of a whole run, the last first.
INSIDE = ("policy", "ppo", "sft")
SAFE = (".safetensors",)
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")  # reading these can run code


@dataclass(frozen=True, kw_only=True)
class ChatModel:
    """A policy ready to talk."""

    name: str  # folder or hub id it was loaded from
    model: Any
    chat: ChatTokenizer
    positions: int | None  # tokens that prompt and answer may have together; None: no limit
    facts: tuple[str, ...]  # what it is and how it is spoken to, a line each
    warnings: tuple[str, ...]  # where that is not how it was trained


class BaseNeeded(CheckpointError):
    """A LoRA adapter whose base is not where its configuration says."""


def load_chat_model(
    path: str,
    *,
    chat_template: str = "auto",
    template_kwargs: Mapping[str, Any] | None = None,
    base: str | None = None,
    int8: bool = False,
) -> ChatModel:
    """The policy in `path`: a model, a LoRA adapter, a run or chain folder, a checkpoint, a hub id.

    base: of a LoRA adapter, where its own configuration names one that is elsewhere now. int8: hold
    the weights of linear layers in 8 bits.

    Raises:
        CheckpointError: no policy there, a reward model, weights as a pickle, or files that
            changed after the folder's manifest was written.
        BaseNeeded: an adapter without its base.
    """
    found = find_policy(path)
    manifest = read_manifest(found) if found else None
    if found:
        refuse_pickles(found)
        base = _base_of(found, base)
    if found and manifest:
        check_folder(found, manifest)
    name = str(found or path)
    if found and base:
        check_base(found, base)
    config = load_config(name, base)
    _refuse_reward_model(name, config)
    check_not_recurrent(name if base is None else base)
    chat = load_tokenizer(name, chat_template, template_kwargs=template_kwargs)
    chat = noting_other_kwargs(chat, manifest)
    check_vocabulary(config, chat)
    on_gpu = torch.cuda.is_available()
    dtype = torch.bfloat16 if on_gpu else torch.float32
    model: Any = load_policy(name, dtype=dtype, base=base)
    size = model.num_parameters()
    notes = _in_int8(model) if int8 else ()
    return ChatModel(
        name=name,
        model=model.to("cuda" if on_gpu else "cpu").eval(),
        chat=chat,
        positions=getattr(config.get_text_config(), "max_position_embeddings", None),
        facts=(*_facts(name, size, base, chat, manifest), *notes),
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


def refuse_pickles(folder: Path) -> None:
    """Refuse a folder that has weights as a pickle and none as safetensors.

    Raises:
        CheckpointError: the file, and what to do.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file())
    # training_args.bin and the like are no weights, and are not read.
    pickles = [path for path in files if path.suffix in PICKLES and "model" in path.name]
    if pickles and not any(path.suffix in SAFE for path in files):
        raise CheckpointError(
            f"{pickles[0]} is a pickle, and reading one can run any code that is in it; only "
            "safetensors are loaded. Have whoever made it save it with safe_serialization=True."
        )


def short_names(paths: Sequence[str]) -> list[str]:
    """The folders' own names where they tell the models apart, else the paths as they came."""
    names = [Path(path).resolve().name if Path(path).is_dir() else path for path in paths]
    if len(set(names)) == len(names):
        return names
    return [path if paths.index(path) == n else f"{path}#{n + 1}" for n, path in enumerate(paths)]


def _base_of(folder: Path, given: str | None) -> str | None:
    """Where the base of an adapter is: what was given, else what its configuration says.

    Raises:
        BaseNeeded: it is not there.
        CheckpointError: a base was given for a model that is none's adapter, or it is a pickle.
    """
    named = adapter_base(folder)
    if named is None:
        if given is not None:
            raise CheckpointError(f"{folder} is a whole model; leave --base out.")
        return None
    base = given or named
    if is_gone(folder, base):
        raise BaseNeeded(
            f"{folder} is a LoRA adapter on {base or 'a model it does not name'}, which is not "
            "here; name the base's folder or hub id with --base."
        )
    if Path(base).is_dir():
        refuse_pickles(Path(base))
    return base


def _refuse_reward_model(name: str, config: Any) -> None:
    # It would load, with a fresh language-model head, and babble.
    architectures = getattr(config, "architectures", None) or []
    if any("SequenceClassification" in architecture for architecture in architectures):
        raise CheckpointError(f"{name} is a reward model, which scores and does not talk.")


def _in_int8(model: Any) -> tuple[str, ...]:
    before, after = to_int8(model)
    return (f"weights in 8 bits: {after / 1e6:.1f} MB, {before / 1e6:.1f} MB before",)


def _facts(
    name: str, size: int, base: str | None, chat: ChatTokenizer, manifest: Manifest | None
) -> tuple[str, ...]:
    stage = f", made by {manifest.stage}" if manifest else ", no manifest beside it"
    adapter = f", LoRA on {base}" if base is not None else ""
    stops = ", ".join(
        f"{i} {chat.tokenizer.convert_ids_to_tokens(i)!r}" for i in chat.eos_token_ids
    )
    template = "none: what you type is continued" if chat.raw else chat.template_source
    checked = "; as its manifest says" if manifest and not _differences(chat, manifest) else ""
    return (
        f"{name}: {size:,} parameters{adapter}{stage}",
        f"chat template: {template}; stops at {stops}{checked}",
        *chat.notes,
    )


def _differences(chat: ChatTokenizer, manifest: Manifest | None) -> list[str]:
    """What is not as the manifest says the model was trained."""
    if manifest is None:
        return []
    found = []
    raw = manifest.chat_template_source == "none"
    if raw != chat.raw or (not raw and manifest.chat_template_sha256 != template_hash(chat)):
        found.append("this is not the chat template that the model was trained with")
    if set(chat.eos_token_ids) != set(manifest.eos_token_ids):
        found.append(f"the model was trained to stop at {list(manifest.eos_token_ids)}")
    return found
