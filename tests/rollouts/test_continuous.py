"""Continuous batching of transformers under autocast, which does not reach its thread."""

import pytest
import torch

from rlhf.data.tokenization.chat import prompt_ids
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.models.adapters import POLICY
from rlhf.models.cpu_kernels.linear import hold_in_bf16
from rlhf.models.forward import response_logprobs
from rlhf.models.generation.generate import prompt_batch
from rlhf.models.load import load_policy
from rlhf.rollouts.continuous import ContinuousEngine
from rlhf.rollouts.engine import Sampling


@pytest.fixture(scope="module")
def chat(policy_folder):
    return load_tokenizer(str(policy_folder))


def batch_of(chat):
    return prompt_batch(
        [prompt_ids(chat, "Name a cat.")], ["Name a cat."], prompt_indices=[0], num_responses=4,
        pad_token_id=chat.pad_token_id, device=torch.device("cpu"),
    )  # fmt: skip


def sampled_under_autocast(model, chat):
    sampling = Sampling(
        max_new_tokens=6, temperature=0.7, eos_token_ids=chat.eos_token_ids,
        pad_token_id=chat.pad_token_id, seed=3, iteration=2,
    )  # fmt: skip
    engine = ContinuousEngine()
    engine.update_weights(model)
    with torch.autocast("cpu", torch.bfloat16):
        return engine.generate(batch_of(chat), sampling)


def logprobs_of(model, chat, generated):
    return response_logprobs(
        model, batch_of(chat), generated.response_ids, generated.response_mask, temperature=0.7
    )


def test_logprobs_are_those_of_the_model_in_bf16(policy_folder, chat):
    """Attention over pages rounds a little differently; float32 is several times as far away."""
    model = load_policy(policy_folder)
    generated = sampled_under_autocast(model, chat)
    in_bf16 = logprobs_of(load_policy(policy_folder, dtype=torch.bfloat16), chat, generated)
    in_float32 = logprobs_of(model, chat, generated)
    gap = (generated.logprobs - in_bf16).abs().mean()
    assert gap < 0.5 * (generated.logprobs - in_float32).abs().mean()


@pytest.mark.parametrize("kind", ["trained", "held in bf16", "lora"])
def test_weights_are_untouched(policy_folder, chat, kind):
    """DDP holds on to the parameters themselves. PPO samples for samples/ from a model held in
    bf16, with embeddings in float32.
    """
    model = load_policy(policy_folder)
    if kind == "held in bf16":
        hold_in_bf16(model.requires_grad_(False))
    if kind == "lora":
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(target_modules="all-linear"), POLICY)
    before = [(id(weight), weight.dtype, weight.requires_grad) for weight in model.parameters()]
    seen = set()
    module = model.get_base_model() if kind == "lora" else model
    module.model.norm.register_forward_hook(lambda m, inputs, output: seen.add(output.dtype))
    generated = sampled_under_autocast(model, chat)
    after = [(id(weight), weight.dtype, weight.requires_grad) for weight in model.parameters()]
    assert after == before
    assert seen == {torch.bfloat16}
    assert torch.isfinite(generated.logprobs).all()
