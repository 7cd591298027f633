"""The reward model of a run: its initial weights, and the merged model at the end."""

from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from rlhf.models.config import ModelConfig
from rlhf.models.cpu_kernels.attention import use_fast_cpu_attention
from rlhf.models.cpu_kernels.layers import use_fast_cpu_layers
from rlhf.models.four_bit import quantise
from rlhf.models.load import enable_gradient_checkpointing, new_reward_model, set_attention
from rlhf.models.lora import add_lora
from rlhf.models.save import ADAPTER, merge_reward_model
from rlhf.runtime.distributed import is_main_process


def load_model(
    config: ModelConfig, seed: int, num_heads: int = 1, *, dtype: torch.dtype = torch.float32
) -> PreTrainedModel | PeftModel:
    """The reward model to train, with LoRA and gradient checkpointing as configured.

    dtype: of the weights; see `frozen_dtype`.
    """
    base = new_reward_model(config.model_name_or_path, seed=seed, num_heads=num_heads, dtype=dtype)
    if config.load_in_4bit:
        quantise(base, bf16=dtype == torch.bfloat16, kept=config.lora_modules_to_save)
    set_attention(base, config.attn_implementation)
    use_fast_cpu_attention(base)
    torch.manual_seed(seed)  # LoRA's first matrices are drawn at random
    model = add_lora(base, config, "SEQ_CLS") if config.use_peft else base
    use_fast_cpu_layers(model)
    if config.gradient_checkpointing:
        enable_gradient_checkpointing(model)
    return model


def merged(model: PreTrainedModel | PeftModel, folder: Path) -> PreTrainedModel:
    """The model with its LoRA adapter, if any, merged; the adapter is saved to `folder/adapter`."""
    if isinstance(model, PeftModel):
        return merge_reward_model(model, folder / ADAPTER if is_main_process() else None)
    return model
