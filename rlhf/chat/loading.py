"""Find the policy in a folder or hub id, and load it the way it was trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PretrainedConfig, PreTrainedModel

from rlhf.chat.model_names import check_path
from rlhf.chat.policy_info import PolicyInfo
from rlhf.data.tokenization.tokenizer import ChatTokenizer, check_vocabulary, load_tokenizer
from rlhf.errors import CheckpointError
from rlhf.manifest import Manifest, check_folder, read_manifest
from rlhf.models.adapter_folder import adapter_base
from rlhf.models.base_path import is_gone
from rlhf.models.compatibility import noting_other_kwargs, template_hash
from rlhf.models.cpu_kernels.int8 import to_int8
from rlhf.models.lineage import check_base
from rlhf.models.load import load_config, load_policy, on_device
from rlhf.models.recurrent import check_not_recurrent
from rlhf.runtime.run_folder import checkpoints

# Subfolders that may hold the policy, in the order in which they are tried: that of a checkpoint,
# then the stages of a pipeline, the last stage first.
POLICY_FOLDERS = ("policy", "ppo", "sft")
SAFE_SUFFIXES = (".safetensors",)
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")  # reading these can run code


@dataclass(frozen=True, kw_only=True)
class LoadedModel(PolicyInfo):
    """A policy with its weights, ready to generate."""

    model: PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class CheckedFolder:
    """A policy's folder or hub id after all checks without weights."""

    name: str
    base: str | None  # of a LoRA adapter
    manifest: Manifest | None
    config: PretrainedConfig
    chat: ChatTokenizer

    def info(self, num_parameters: int, notes: Sequence[str] = ()) -> PolicyInfo:
        """What is known of it; `notes` are further facts."""
        text_config = self.config.get_text_config()
        facts = _facts(self.name, num_parameters, self.base, self.chat, self.manifest)
        return PolicyInfo(
            name=self.name,
            chat=self.chat,
            positions=getattr(text_config, "max_position_embeddings", None),
            vocab_size=int(text_config.vocab_size),
            facts=(*facts, *notes),
            warnings=tuple(_differences(self.chat, self.manifest)),
        )


class BaseNeeded(CheckpointError):
    """A LoRA adapter whose base is not where its configuration says."""


def load_chat_model(
    path: str,
    *,
    chat_template: str = "auto",
    template_kwargs: Mapping[str, object] | None = None,
    base: str | None = None,
    int8: bool = False,
) -> LoadedModel:
    """The policy in `path`, on the GPU in bfloat16 if there is one, else on the CPU in float32.

    Args:
        path: a model, LoRA adapter, run or pipeline folder, checkpoint, or hub id.
        chat_template: `auto`, `none`, or a Jinja file, as the model was trained.
        template_kwargs: variables of the chat template.
        base: base of a LoRA adapter, if it is no longer where the adapter's configuration says.
        int8: hold the weights of linear layers in 8 bits.

    Raises:
        CheckpointError: there is no policy, it is a reward model, its weights are a pickle, or
            files changed after the folder's manifest was written.
        BaseNeeded: an adapter whose base is missing.
    """
    checked = check_policy(path, chat_template, template_kwargs, base)
    on_gpu = torch.cuda.is_available()
    dtype = torch.bfloat16 if on_gpu else torch.float32
    model = load_policy(checked.name, dtype=dtype, base=checked.base)
    num_parameters = model.num_parameters()
    notes = _to_int8(model) if int8 else ()
    info = checked.info(num_parameters, notes)
    return LoadedModel(
        name=info.name,
        chat=info.chat,
        positions=info.positions,
        vocab_size=int(model.config.get_text_config().vocab_size),
        facts=info.facts,
        warnings=info.warnings,
        model=on_device(model, torch.device("cuda" if on_gpu else "cpu")),
    )


def check_policy(
    path: str,
    chat_template: str,
    template_kwargs: Mapping[str, object] | None,
    base: str | None = None,
) -> CheckedFolder:
    """The policy in `path`, checked without its weights.

    Arguments and errors as in `load_chat_model`.
    """
    folder = find_policy(path)
    manifest = read_manifest(folder) if folder else None
    if folder:
        check_no_pickle(folder)
        base = _base_of(folder, base)
    if folder and manifest:
        check_folder(folder, manifest)
    name = str(folder or path)
    if folder and base:
        check_base(folder, base)
    config = load_config(name, base)
    _check_not_reward_model(name, config)
    check_not_recurrent(name if base is None else base)
    chat = load_tokenizer(name, chat_template, template_kwargs=template_kwargs)
    chat = noting_other_kwargs(chat, manifest)
    check_vocabulary(config, chat)
    return CheckedFolder(name=name, base=base, manifest=manifest, config=config, chat=chat)


def find_policy(path: str) -> Path | None:
    """The folder of the policy in `path`; None if `path` is a hub id.

    Raises:
        CheckpointError: there is no such folder, or it holds no policy.
    """
    folder = Path(path)
    check_path(path)
    if not folder.is_dir():
        return None
    if (folder / "config.json").is_file() or adapter_base(folder) is not None:
        return folder
    inside = [folder / name for name in POLICY_FOLDERS if (folder / name).is_dir()]
    for candidate in [*inside, *reversed(checkpoints(folder))]:
        try:
            return find_policy(str(candidate))
        except CheckpointError:
            continue
    raise CheckpointError(
        f"{folder} holds no model (no config.json, adapter_config.json or checkpoint-N); give the "
        "folder of a finished stage, such as runs/pocket/ppo.",
        code="not-a-model",
    )


def check_no_pickle(folder: Path) -> None:
    """Checks that the weights of a folder can be read without running code.

    Raises:
        CheckpointError: the weights are a pickle, and there are no safetensors.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file())
    # training_args.bin and the like are not weights, and are not read.
    pickles = [path for path in files if path.suffix in PICKLE_SUFFIXES and "model" in path.name]
    if pickles and not any(path.suffix in SAFE_SUFFIXES for path in files):
        raise CheckpointError(
            f"{pickles[0]} is a pickle, and reading one can run any code in it; only safetensors "
            "are loaded. Save the model again with safe_serialization=True.",
            code="unsupported",
        )


def _base_of(folder: Path, requested: str | None) -> str | None:
    """The base of an adapter: the requested one, else the one in its configuration.

    Raises:
        BaseNeeded: it is missing.
        CheckpointError: a base was requested for a full model, or the base is a pickle.
    """
    configured = adapter_base(folder)
    if configured is None:
        if requested is not None:
            raise CheckpointError(
                f"{folder} is a full model, not a LoRA adapter; leave --base out.",
                code="key-conflict",
            )
        return None
    base = requested or configured
    if is_gone(folder, base):
        raise BaseNeeded(
            f"{folder} is a LoRA adapter on {base or 'a model it does not name'}, which is not "
            "here; name the base's folder or hub id with --base.",
            code="missing-file",
        )
    if Path(base).is_dir():
        check_no_pickle(Path(base))
    return base


def _check_not_reward_model(name: str, config: PretrainedConfig) -> None:
    # It would load, with a random language-model head, and generate noise.
    architectures = getattr(config, "architectures", None) or []
    if any("SequenceClassification" in architecture for architecture in architectures):
        raise CheckpointError(
            f"{name} is a reward model, which scores responses and does not generate them; give "
            "the folder of a policy.",
            code="not-a-model",
        )


def _to_int8(model: PreTrainedModel) -> tuple[str, ...]:
    before, after = to_int8(model)
    return (f"weights in 8 bits: {after / 1e6:.1f} MB, {before / 1e6:.1f} MB before",)


def _facts(
    name: str,
    num_parameters: int,
    base: str | None,
    chat: ChatTokenizer,
    manifest: Manifest | None,
) -> tuple[str, ...]:
    stage = f", made by {manifest.stage}" if manifest else ", no manifest"
    adapter = f", LoRA on {base}" if base is not None else ""
    stops = ", ".join(
        f"{i} {chat.tokenizer.convert_ids_to_tokens(i)!r}" for i in chat.eos_token_ids
    )
    template = "none: the model continues your text" if chat.raw else chat.template_source
    matches = "; matches its manifest" if manifest and not _differences(chat, manifest) else ""
    return (
        f"{name}: {num_parameters:,} parameters{adapter}{stage}",
        f"chat template: {template}; stops at {stops}{matches}",
        *chat.notes,
    )


def _differences(chat: ChatTokenizer, manifest: Manifest | None) -> list[str]:
    """What differs from the manifest of the training."""
    if manifest is None:
        return []
    differences = []
    raw = manifest.chat_template_source == "none"
    if raw != chat.raw or (not raw and manifest.chat_template_sha256 != template_hash(chat)):
        differences.append("the model was trained with another chat template")
    if set(chat.eos_token_ids) != set(manifest.eos_token_ids):
        differences.append(f"the model was trained to stop at {list(manifest.eos_token_ids)}")
    return differences
