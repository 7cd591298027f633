"""Parameters and memory of a training run, estimated before a weight is loaded."""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedModel

from rlhf.models.adapter_folder import untrained
from rlhf.models.config import ModelConfig, use_bf16
from rlhf.models.load import load_config
from rlhf.models.lora import add_lora

Task = Literal["CAUSAL_LM", "SEQ_CLS"]
# fp32 weight 4, gradient 4, AdamW's two moments 8; the same under bf16 autocast.
BYTES_TRAINED = 16
GIB = 1 << 30
TOKENS_ON_GPU = 4096
# On a CPU: numbers that a forward pass saves for its backward pass, beyond which larger products
# gain nothing; and bounds for very large and very small models.
SAVED_ON_CPU, MIN_TOKENS, MAX_TOKENS = 1 << 25, 1024, 4096


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """Numbers of parameters, and bytes of the training state on a device."""

    parameters: int
    trained: int
    state_bytes: int  # weights, gradients, optimizer; without activations

    def __str__(self) -> str:
        return (
            f"{self.parameters / 1e6:,.1f} M parameters, {self.trained / 1e6:,.1f} M of them "
            f"trained; about {self.state_bytes / GIB:,.2f} GiB a device before activations"
        )


def model_size(config: ModelConfig, task: Task) -> ModelSize:
    """The size of the configured model, built without memory (on torch's meta device)."""
    base = _without_memory(config.model_name_or_path, task)
    model: PreTrainedModel | PeftModel = base
    if config.use_peft:
        with torch.device("meta"):
            model = add_lora(base, config, task)
    parameters = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen_bytes = (
        0.5 if config.load_in_4bit else frozen_dtype(config, bf16=use_bf16(config)).itemsize
    )
    return ModelSize(
        parameters=parameters,
        trained=trained,
        state_bytes=int((parameters - trained) * frozen_bytes) + trained * BYTES_TRAINED,
    )


def count_parameters(path: str, task: Task) -> int:
    """Parameters of the model at `path`."""
    return sum(p.numel() for p in _without_memory(path, task).parameters())


def generation_bytes(path: str, *, rows: int, length: int, itemsize: int) -> int:
    """Bytes of the keys, values and logits of sampling `rows` texts of `length` tokens.

    itemsize: bytes of a number of the model. Logits are float32, of one position per row.
    """
    config = load_config(path).get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    cache = 2 * config.num_hidden_layers * heads * width * length * itemsize
    return int(rows * (cache + 4 * config.vocab_size))


@cache
def tokens_at_once(path: str) -> int:
    """Tokens of one forward pass in training that suit the device and the model at `path`.

    Too few are slow for a small model: each call has a fixed cost. Too many waste memory on a CPU,
    whose products are as fast with a few hundred. A power of two.
    """
    if torch.accelerator.is_available():
        return TOKENS_ON_GPU
    config = load_config(path).get_text_config()
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    layer = 8 * config.hidden_size + 3 * inner  # norms, attention; gate, up and their product
    fit = SAVED_ON_CPU // (config.num_hidden_layers * layer + config.vocab_size)
    return min(MAX_TOKENS, max(MIN_TOKENS, 1 << (fit.bit_length() - 1) if fit else MIN_TOKENS))


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
    """
    return torch.bfloat16 if config.use_peft and bf16 else torch.float32
