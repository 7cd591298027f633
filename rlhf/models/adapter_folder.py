"""LoRA adapter folders: the base that they name, and the tokens that they add."""

from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel
from safetensors import safe_open
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
)

from rlhf.models.lineage import MERGED_BASE, origin
from rlhf.models.protocols import CausalLM

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."  # of parameter names in peft


def adapter_base(path: str | Path) -> str | None:
    """The base of a local adapter folder; None where `path` is not an adapter folder."""
    folder = Path(path)
    if not (folder / ADAPTER_CONFIG).is_file() or (folder / "config.json").is_file():
        return None
    base: str = LoraConfig.from_pretrained(str(folder)).base_model_name_or_path or ""
    if Path(base).is_dir():
        return base
    candidates = [folder / base]
    if Path(base).name == MERGED_BASE:  # in a run folder, which may have been moved
        candidates += [folder / MERGED_BASE, folder.parent / MERGED_BASE]
    return next((str(path) for path in candidates if path.is_dir()), base)


def trained_on(adapter: str | Path, base: str | Path) -> bool:
    """Whether `adapter` is an adapter folder that was trained on the model `base`."""
    own = adapter_base(adapter)
    return own is not None and origin(own) == origin(base)


def fit_embeddings(model: PreTrainedModel, adapter: Path) -> None:
    """Prepare the embeddings of `model` for an adapter that contains or changes embeddings.

    An adapter with added tokens is saved with its embeddings, and peft loads them only into a model
    of the same size. Tied embeddings are untied: merging a change of either into one matrix would
    change both.
    """
    rows = _rows_of_embeddings(model, adapter)
    if rows is None:
        return
    if rows != _embeddings(model)[0].weight.shape[0]:
        model.resize_token_embeddings(rows, mean_resizing=False)
    inputs, outputs = _embeddings(model)
    if inputs.weight is outputs.weight:
        outputs.weight = nn.Parameter(outputs.weight.detach().clone())


def with_vocabulary(config: PretrainedConfig, adapter: Path) -> PretrainedConfig:
    """A base's configuration with the vocabulary size of the adapter. Reads no weights."""
    if any(".lora_" not in key for key in _shapes(adapter)):
        with torch.device("meta"):
            model = untrained(AutoModelForCausalLM, config)
        rows = _rows_of_embeddings(model, adapter)
        if rows is not None:
            config.get_text_config().vocab_size = rows
    return config


def untrained(
    kind: type[AutoModelForCausalLM] | type[AutoModelForSequenceClassification],
    config: PretrainedConfig,
) -> PreTrainedModel:
    """A model of this configuration with weights that nothing trained."""
    make: Any = kind.from_config  # transformers has no types for it
    model: PreTrainedModel = make(config)
    return model


def untie_what_differs(model: PreTrainedModel) -> None:
    """Tie equal input and output embeddings again; record in the configuration if they differ.

    An adapter that trains either of two tied matrices makes two of them. A model that is still
    marked as tied would be saved with one.
    """
    inputs, outputs = _embeddings(model)
    config = model.config.get_text_config()
    if not getattr(config, "tie_word_embeddings", False) or None in (inputs, outputs):
        return
    if inputs.weight is outputs.weight:
        return
    if torch.equal(inputs.weight, outputs.weight):
        outputs.weight = inputs.weight
    else:
        config.tie_word_embeddings = model.config.tie_word_embeddings = False


def name_base(model: PeftModel, base: str) -> None:
    """Save every adapter of `model` with `base` as its base."""
    for config in model.peft_config.values():
        config.base_model_name_or_path = base


def _rows_of_embeddings(model: PreTrainedModel, adapter: Path) -> int | None:
    """Rows of the embeddings in the adapter's file; None where it has no embeddings."""
    ends = _embeddings(model)
    names = [name for name, module in model.named_modules() if module in ends]
    shapes = _shapes(adapter)
    for name in names:
        for key in (f"{_PREFIX}{name}.weight", f"{_PREFIX}{name}.base_layer.weight"):
            if key in shapes:
                return shapes[key][0]
        if embedding := shapes.get(f"{_PREFIX}{name}.lora_embedding_A"):
            return embedding[1]
        if output := shapes.get(f"{_PREFIX}{name}.lora_B.weight"):
            return output[0]
    return None


def _embeddings(model: CausalLM) -> tuple[nn.Embedding, nn.Linear]:
    """Input and output embeddings."""
    return cast(nn.Embedding, model.get_input_embeddings()), model.get_output_embeddings()


def _shapes(adapter: Path) -> dict[str, list[int]]:
    file = adapter / ADAPTER_WEIGHTS
    if not file.is_file():
        return {}
    with safe_open(file, "pt") as tensors:
        return {key: tensors.get_slice(key).get_shape() for key in tensors.keys()}  # noqa: SIM118
