"""The policy that a run trains: load it, sample from it, and write its folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import torch
from accelerate import PartialState
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.models.config import ModelConfig
from rlhf.models.cpu_kernels.attention import use_fast_cpu_attention
from rlhf.models.four_bit import quantise
from rlhf.models.generation.generate import SampledResponse, sample_responses
from rlhf.models.load import load_policy, set_attention
from rlhf.models.lora import add_lora
from rlhf.models.save import save_policy
from rlhf.runtime.printing import rlhf_command
from rlhf.training.common.publish import publish
from rlhf.training.common.setup import Config, Row, RunSetup
from rlhf.types import Prompt

Model: TypeAlias = PreTrainedModel | PeftModel
SAMPLE_TEMPERATURE = 0.7


def load_policy_to_train(config: ModelConfig, *, dtype: torch.dtype, bf16: bool) -> Model:
    """The policy, with fresh LoRA adapters where the configuration asks for them.

    Args:
        config: keys of the model.
        dtype: of the weights; see `frozen_dtype`.
        bf16: whether training computes in bf16.
    """
    policy = load_policy(config.model_name_or_path, dtype=dtype)
    if config.load_in_4bit:
        quantise(policy, bf16=bf16, kept=config.lora_modules_to_save)
    set_attention(policy, config.attn_implementation)
    use_fast_cpu_attention(policy)
    return add_lora(policy, config, "CAUSAL_LM") if config.use_peft else policy


def sample_each(
    model: Model,
    chat: ChatTokenizer,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
) -> list[SampledResponse]:
    """A response of the model to each prompt.

    Args:
        model: the policy, which is moved to this process's device.
        chat: its tokenizer.
        prompts: the prompts.
        max_new_tokens: longest response.
        temperature: 0 for the likeliest tokens.
        seed: seed of the sampling noise.
    """
    if model.device.type != PartialState().device.type:  # to() would shard it again
        model.to(PartialState().device)
    groups = sample_responses(
        model,
        chat,
        prompts,
        num_responses=1,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        batch_size=None,
    )
    return [responses[0] for responses in groups]


def write_policy(
    folder: Path,
    setup: RunSetup[Row, Config],
    model: Model,
    metrics: Mapping[str, str],
    *,
    stage: str,
    title: str,
    weights: dict[str, Tensor] | None = None,
) -> None:
    """Write the model with tokenizer, model card and manifest; print a table of the metrics.

    Call it on one process.

    Args:
        folder: the folder to write to.
        setup: the run.
        model: the trained policy, unwrapped.
        metrics: of the run, for people.
        stage: of the manifest.
        title: of the model card and the table.
        weights: whole weights by name, if `model` has only a shard of them.
    """
    save_policy(folder, model, setup.chat, weights)
    samples = folder / "samples" / "random.jsonl"
    publish(
        folder,
        setup.manifest(folder, stage=stage),
        title=title,
        metrics=metrics,
        loads_with="AutoModelForCausalLM",
        places={
            **({"responses before and after": samples} if samples.is_file() else {}),
            "chat with it": rlhf_command("chat", folder),
        },
    )


def unfinished(steps: int) -> dict[str, str]:
    """The metrics for people of a run that was interrupted."""
    return {"optimizer steps": str(steps), "stopped early": f"interrupted after step {steps}"}
