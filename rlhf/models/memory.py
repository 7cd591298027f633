"""Sizes of models, before a weight is loaded."""

from dataclasses import replace
from functools import cache
from typing import Literal

import torch
from peft import PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
)

from rlhf.errors import ConfigError
from rlhf.models.adapter_folder import untrained
from rlhf.models.config import ModelConfig
from rlhf.models.load import load_config
from rlhf.models.lora import add_lora
from rlhf.models.shape import ModelShape, key_value_bytes

Task = Literal["CAUSAL_LM", "SEQ_CLS"]
TOKENS_ON_GPU = 4096
# On a CPU: numbers that a forward pass saves for its backward pass, beyond which larger products
# gain nothing; and bounds for very large and very small models.
SAVED_ON_CPU, MIN_TOKENS, MAX_TOKENS = 1 << 25, 1024, 4096


def adapter_parameters(config: ModelConfig, task: Task) -> int:
    """Trained parameters of the model with LoRA adapters, built without memory."""
    with torch.device("meta"):
        model: PeftModel = add_lora(_without_memory(config.model_name_or_path, task), config, task)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@cache
def shape_of(path: str) -> ModelShape:
    """The sizes of the model at `path`, from its config.json; its weights are not read.

    `extra` is what a dense decoder of these sizes does not have, such as norms of heads.

    Raises:
        CheckpointError: `path` is not a model.
    """
    config = load_config(path).get_text_config()
    heads = getattr(config, "num_attention_heads", None) or 1
    sizes = ModelShape(
        name=path,
        num_layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        intermediate_size=_intermediate_size(config),
        num_heads=heads,
        num_kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        vocab_size=config.vocab_size,
        tied=bool(getattr(config, "tie_word_embeddings", False)),
        head_dim=getattr(config, "head_dim", None),
    )
    count = count_parameters(path, "CAUSAL_LM")
    fits = [replace(sizes, num_mlp_matrices=matrices) for matrices in (2, 3)]
    nearest = min(fits, key=lambda shape: abs(count - shape.parameters))
    return replace(nearest, extra=count - nearest.parameters)


def count_parameters(path: str, task: Task) -> int:
    """Parameters of the model at `path`."""
    return sum(p.numel() for p in _without_memory(path, task).parameters())


def generation_bytes(path: str, *, rows: int, length: int, itemsize: int) -> int:
    """Bytes of the keys, values and logits of sampling `rows` texts of `length` tokens.

    itemsize: bytes of a number of the model. Logits are float32, of one position per row.
    """
    shape = shape_of(path)
    return int(rows * (length * key_value_bytes(shape, itemsize) + 4 * shape.vocab_size))


def tokens_at_once(path: str) -> int:
    """Tokens of one forward pass in training that suit the device and the model at `path`.

    Too few are slow for a small model: each call has a fixed cost. Too many waste memory on a CPU,
    whose products are as fast with a few hundred. A power of two.
    """
    return TOKENS_ON_GPU if torch.accelerator.is_available() else tokens_at_once_on_cpu(path)


@cache
def tokens_at_once_on_cpu(path: str) -> int:
    """`tokens_at_once` of a CPU."""
    config = load_config(path).get_text_config()
    inner = _intermediate_size(config)
    layer = 8 * config.hidden_size + 3 * inner  # norms, attention; gate, up and their product
    fit = SAVED_ON_CPU // (config.num_hidden_layers * layer + config.vocab_size)
    return min(MAX_TOKENS, max(MIN_TOKENS, 1 << (fit.bit_length() - 1) if fit else MIN_TOKENS))


def _intermediate_size(config: PretrainedConfig) -> int:
    return int(getattr(config, "intermediate_size", None) or 4 * config.hidden_size)


def _without_memory(path: str, task: Task) -> PreTrainedModel:
    """The model, built on torch's meta device."""
    model_config = load_config(path)
    with torch.device("meta"):
        if task == "CAUSAL_LM":
            return untrained(AutoModelForCausalLM, model_config)
        model_config.num_labels = 1
        return untrained(AutoModelForSequenceClassification, model_config)


def frozen_dtype(config: ModelConfig, *, bf16: bool) -> torch.dtype:
    """The type that weights are loaded in: fp32 where they are trained, else the compute type.

    bf16 has 8 bits of mantissa: an update of a trained weight would often round to nothing. A
    frozen base under LoRA loses nothing that autocast would not round anyway.

    bf16: whether training computes in bf16.

    Raises:
        ConfigError: the key `dtype` asks for bf16 weights, but training computes in float32.
    """
    if config.dtype == "bfloat16" and not bf16:
        raise ConfigError(
            "dtype=bfloat16 needs a run that computes in bf16, which this device is slow at; add "
            "--bf16 true or leave dtype out.",
            code="key-conflict",
        )
    half = bf16 and config.use_peft and config.dtype != "float32"
    return torch.bfloat16 if half else torch.float32
