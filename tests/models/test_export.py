"""Weights for another program: LoRA merged as peft merges it, and the policy not changed."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from rlhf.models.adapters import policy_with_adapters, without_adapters
from rlhf.models.config import ModelConfig
from rlhf.models.export import merged_weights, write_weights
from rlhf.models.load import load_policy
from tests.tiny_models import make_model

KEYS = [
    {},
    {"use_rslora": True, "lora_target_modules": ["q_proj", "down_proj"]},
    {"use_dora": True},
    {"lora_modules_to_save": ["embed_tokens", "lm_head"]},
]
IDS = torch.tensor([[5, 6, 7, 8, 9]])


def trained(folder, critic, **keys):
    """A policy whose adapter is not the fresh one, which changes nothing."""
    config = ModelConfig(model_name_or_path=str(folder), use_peft=True, **keys)
    policy = policy_with_adapters(folder, config, critic=critic, checkpoint=None, seed=0)
    with torch.no_grad():
        for index, parameter in enumerate(p for p in policy.parameters() if p.requires_grad):
            draw = torch.Generator().manual_seed(index)
            parameter += 0.02 * torch.randn(parameter.shape, generator=draw)
    return policy.eval()


@pytest.mark.parametrize("keys", KEYS, ids=str)
@pytest.mark.parametrize("critic", [False, True])
def test_written_policy_is_the_trained_one(tmp_path, keys, critic):
    policy = trained(make_model(tmp_path / "base", "llama"), critic, **keys)
    before = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    with torch.no_grad():
        expected = policy(input_ids=IDS).logits
        write_weights(tmp_path / "out", policy)
        plain = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
        torch.testing.assert_close(plain(input_ids=IDS).logits, expected, atol=1e-5, rtol=0)
    after = policy.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_disabled_adapters_are_left_out(tmp_path):
    """The reference of mode lora is the policy without its adapters."""
    folder = make_model(tmp_path / "base", "llama")
    policy = trained(folder, True, lora_modules_to_save=["embed_tokens"])
    with without_adapters(policy):
        weights = merged_weights(policy)
    for name, tensor in load_policy(folder).state_dict().items():
        assert torch.equal(weights[name], tensor), name


def test_names_are_those_of_the_base(tmp_path):
    folder = make_model(tmp_path / "base", "llama")
    names = merged_weights(load_policy(folder)).keys()
    assert merged_weights(trained(folder, True)).keys() == names


def test_tied_weights_are_written_once_in_another_type(tmp_path):
    policy = load_policy(make_model(tmp_path / "base", "gemma"))
    write_weights(tmp_path / "out", policy, dtype=torch.bfloat16)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert plain.dtype == torch.bfloat16
    assert plain.lm_head.weight is plain.model.embed_tokens.weight
    expected = policy.model.embed_tokens.weight.bfloat16()
    assert torch.equal(plain.model.embed_tokens.weight, expected)
