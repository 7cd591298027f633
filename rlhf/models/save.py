"""Save policies and reward models in the formats of transformers and peft."""

import copy
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from peft import PeftModel
from torch import Tensor
from transformers import (
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import CheckpointError
from rlhf.manifest import MANIFEST
from rlhf.models.axes import AXES, Axis, record_axes
from rlhf.models.four_bit import dequantise
from rlhf.models.generation_config import repair_generation_config
from rlhf.models.heads import HEADS

ADAPTER = "adapter"  # a folder in a merged reward model's folder
# What a save writes, apart from the manifest. Other .safetensors files may be the user's.
SAVED_FILES = (
    *("config.json", "generation_config.json", "adapter_config.json", "adapter_model.safetensors"),
    *("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json"),
    *(HEADS, AXES),
    *("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json"),
    *("added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "chat_template.jinja"),
)


def save_policy(
    folder: Path,
    model: PreTrainedModel | PeftModel,
    chat: ChatTokenizer,
    weights: dict[str, Tensor] | None = None,
) -> None:
    """Write a policy that plain `AutoModelForCausalLM` loads (a PEFT adapter for a LoRA model).

    Tokenizer, chat template and a generation_config with every stop id are saved with it. Each file
    is complete or absent. Call it on one process, with the unwrapped model.

    weights: the weights by name, if the model itself holds only a shard of them.
    """
    inner = inner_model(model)
    repair_generation_config(inner, str(inner.name_or_path))
    _set_special_ids(inner, chat)
    staging = _staging(folder)
    if isinstance(model, PeftModel):  # a critic's adapter is not part of the policy
        model.save_pretrained(str(staging), selected_adapters=["default"])
    else:
        model.save_pretrained(str(staging), state_dict=weights)
    if isinstance(inner.generation_config, GenerationConfig):
        inner.generation_config.save_pretrained(staging)
    saved_tokenizer(chat).save_pretrained(staging)
    _move(staging, folder)


def rehearse_saving(model: PreTrainedModel | PeftModel, chat: ChatTokenizer) -> None:
    """Save all but the weights to a temporary folder, to find errors before the training.

    Raises:
        CheckpointError: naming the part that cannot be saved, and why.
    """
    inner = inner_model(model)
    parts: dict[str, PretrainedConfig | PreTrainedTokenizerBase | GenerationConfig] = {
        "config.json": inner.config,
        "the tokenizer": saved_tokenizer(chat),
    }
    if isinstance(generation := getattr(inner, "generation_config", None), GenerationConfig):
        parts["generation_config.json"] = generation
    for name, part in parts.items():
        try:
            with TemporaryDirectory() as folder:
                part.save_pretrained(folder)
        except Exception as error:  # of any type: public models' files hold anything
            reason = " ".join(str(error).split())
            raise CheckpointError(
                f"{inner.name_or_path}: {name} loads but cannot be saved ({reason}), which the run "
                "has to do at its end; correct it in a copy of the model's folder.",
                code="unsupported",
            ) from error


def merge_reward_model(model: PeftModel, adapter_folder: Path | None) -> PreTrainedModel:
    """The reward model with its LoRA adapter merged (in place), in fp32.

    The adapter is saved to `adapter_folder` first. fp32, because an adapter's update is small
    compared with the weight, and bf16's 8 bits would round most of it away. A base in 4 bits is
    merged with the values that it was trained on, which are not those of the base's folder.
    """
    if adapter_folder is not None:
        model.save_pretrained(str(adapter_folder))
    dequantise(model)
    return inner_model(model.float().merge_and_unload())


def save_reward_model(
    folder: Path,
    model: PreTrainedModel,
    chat: ChatTokenizer,
    mean: float,
    std: float,
    *,
    objective: str | None = None,
    axes: Sequence[Axis] = (),
) -> None:
    """Write a reward model that plain `AutoModelForSequenceClassification` loads.

    A LoRA model has to be merged (`merge_reward_model`): an adapter alone loads only with
    num_labels given, and without the normalisation.

    Args:
        folder: the folder to write to.
        model: the reward model.
        chat: its tokenizer.
        mean: of the raw logit on demonstrations; `rlhf_reward_mean` of config.json.
        std: of the raw logit on demonstrations; `rlhf_reward_std` of config.json.
        objective: `rlhf_objective` of config.json; None for a model of rankings.
        axes: `rlhf_axes` of config.json.

    Raises:
        CheckpointError: the pad id is an EOS id; transformers would then pool the token
            before EOS.
    """
    if chat.pad_token_id in chat.eos_token_ids:
        raise CheckpointError(
            f"pad token id {chat.pad_token_id} is also an end-of-sequence id; a reward model "
            "would be read one token early. Give the tokenizer another pad token.",
            code="unsupported",
        )
    _set_special_ids(model, chat)
    model.config.num_labels = 1
    model.config.rlhf_reward_mean, model.config.rlhf_reward_std = mean, std
    record_axes(model.config, objective, axes)
    staging = _staging(folder)
    model.save_pretrained(str(staging))
    saved_tokenizer(chat).save_pretrained(staging)
    _move(staging, folder)


def inner_model(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """The transformers model, without a peft wrapper."""
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    assert isinstance(inner, PreTrainedModel)
    return inner


def saved_tokenizer(chat: ChatTokenizer) -> PreTrainedTokenizerBase:
    """The tokenizer to save; with raw prompts (`chat_template: none`) it has no template."""
    tokenizer: PreTrainedTokenizerBase = copy.deepcopy(chat.tokenizer)
    if chat.template_source == "none":
        tokenizer.chat_template = None
    return tokenizer


def _set_special_ids(model: PreTrainedModel, chat: ChatTokenizer) -> None:
    """Set the ids that the model was trained with, in both places that transformers reads."""
    eos = list(chat.eos_token_ids)
    model.config.pad_token_id = chat.tokenizer.pad_token_id
    model.config.eos_token_id = eos[0] if len(eos) == 1 else eos
    generation = getattr(model, "generation_config", None)  # classifiers have none
    if isinstance(generation, GenerationConfig):
        generation.pad_token_id = chat.tokenizer.pad_token_id
        generation.eos_token_id = eos


def _staging(folder: Path) -> Path:
    staging = folder / ".saving"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    return staging


def _move(staging: Path, folder: Path) -> None:
    """Rename the files to their final names, so that no incomplete file has one.

    Files of an earlier save that are not replaced are deleted first: adapter_config.json next to
    whole weights would load as an adapter.
    """
    if (folder / MANIFEST).is_file():  # without it the files are not from an earlier save
        for path in [path for name in SAVED_FILES for path in folder.glob(name)]:
            if not (staging / path.name).exists():
                path.unlink()
    for source in sorted(path for path in staging.rglob("*") if path.is_file()):
        target = folder / source.relative_to(staging)
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
    shutil.rmtree(staging)
