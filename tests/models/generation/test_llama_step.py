"""The step with joined weights gives the logits of transformers' model."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from rlhf.models.generation import decoder
from rlhf.models.generation.generate import generate, prompt_batch
from rlhf.models.generation.llama_step import computes_step
from rlhf.models.load import load_policy
from tests.tiny_models import FAMILIES, make_model

BATCH = prompt_batch(
    [[5, 6, 7], [9, 10, 11, 12, 13, 14]],
    ["", ""],
    prompt_indices=[0, 1],
    num_responses=2,
    pad_token_id=0,
    device=torch.device("cpu"),
)


def with_large_weights(model):
    """Weights times 8: attention then moves the log-probs of these small models by whole nats."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8 if parameter.dim() > 1 else 1)
    return model


def sampled(model, monkeypatch, *, fused, bf16):
    monkeypatch.setattr(decoder, "computes_step", computes_step if fused else lambda model: False)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        return generate(
            model,
            BATCH,
            max_new_tokens=12,
            temperature=1.0,
            eos_token_ids=tuple(range(100, 134)),
            pad_token_id=0,
            seed=0,
            iteration=0,
        )


def check_same(model, monkeypatch, *, bf16):
    assert computes_step(model)
    plain, fused = (sampled(model, monkeypatch, fused=fused, bf16=bf16) for fused in (False, True))
    same = (plain.response_ids == fused.response_ids).cumprod(1).bool() & plain.response_mask
    assert same.sum() > (0.5 if bf16 else 0.99) * plain.response_mask.sum()
    tolerance = 0.05 if bf16 else 1e-4
    torch.testing.assert_close(
        fused.logprobs[same], plain.logprobs[same], atol=tolerance, rtol=tolerance
    )


SHAPE = {
    "vocab_size": 134,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "pad_token_id": 0,
}
CONFIGS = {
    "llama": LlamaConfig(**SHAPE),
    "llama, longer": LlamaConfig(
        **SHAPE, rope_scaling={"rope_type": "linear", "factor": 2.0}, tie_word_embeddings=True
    ),
    "mistral": MistralConfig(**SHAPE, sliding_window=None),
    "qwen2": Qwen2Config(**SHAPE),  # with biases
    "qwen3": Qwen3Config(**SHAPE),  # with norms of queries and keys
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("bf16", [False, True])
def test_samples_and_logprobs_equal_those_of_transformers(name, bf16, monkeypatch):
    torch.manual_seed(0)
    model = with_large_weights(AutoModelForCausalLM.from_config(CONFIGS[name]).eval())
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith("bias") or "norm" in key:
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
    check_same(model, monkeypatch, bf16=bf16)


def test_windows_and_other_activations_use_the_model_itself():
    shape = {**SHAPE, "num_hidden_layers": 1}
    for config in (
        MistralConfig(**shape, sliding_window=8),
        LlamaConfig(**shape, hidden_act="gelu"),
        Qwen2Config(**shape, use_sliding_window=True, max_window_layers=0, sliding_window=8),
    ):
        assert not computes_step(AutoModelForCausalLM.from_config(config))


@pytest.mark.parametrize("bf16", [False, True])
def test_adapters_are_part_of_the_step(bf16, monkeypatch, tmp_path):
    """B is zero in a new adapter; here both matrices are random and change every log-prob."""
    base = with_large_weights(load_policy(make_model(tmp_path / "llama")))
    before = sampled(base, monkeypatch, fused=True, bf16=bf16).logprobs
    targets = ["q_proj", "v_proj", "gate_proj", "down_proj"]
    model = get_peft_model(base, LoraConfig(r=4, target_modules=targets, lora_alpha=8))
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    check_same(model, monkeypatch, bf16=bf16)
    after = sampled(model, monkeypatch, fused=True, bf16=bf16).logprobs
    assert not torch.isclose(before[:, 0], after[:, 0], atol=1e-3).any()
    with model.disable_adapter():
        off = sampled(model, monkeypatch, fused=True, bf16=bf16).logprobs
    torch.testing.assert_close(off, before)


@pytest.mark.parametrize("options", [{"use_dora": True}, {"lora_bias": True}])
def test_adapters_of_another_form_use_the_model_itself(options):
    """`lora_bias` needs layers with a bias, as Qwen2's queries are."""
    base = AutoModelForCausalLM.from_config(Qwen2Config(**SHAPE))
    adapted = {"r": 2, "target_modules": ["q_proj"]}
    assert computes_step(get_peft_model(base, LoraConfig(**adapted)))
    base = AutoModelForCausalLM.from_config(Qwen2Config(**SHAPE))
    assert not computes_step(get_peft_model(base, LoraConfig(**adapted, **options)))


def test_other_structures_use_the_model_itself(tmp_path):
    others = [family for family in (*FAMILIES, "gpt2") if family not in ("llama", "qwen2", "qwen3")]
    assert others
    for family in others:
        assert not computes_step(load_policy(make_model(tmp_path / family, family)))
