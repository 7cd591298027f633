"""Continuous batching of transformers with models that another engine reads under autocast."""

import torch

from rlhf.data.tokenization.chat import prompt_ids
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.models.cpu_kernels.linear import hold_in_bf16
from rlhf.models.generation.generate import prompt_batch
from rlhf.models.load import load_policy
from rlhf.rollouts.continuous import ContinuousEngine
from rlhf.rollouts.engine import Sampling


def test_model_held_in_bf16_is_sampled_from_and_stays_as_it_is(policy_folder):
    """PPO samples from such a reference for samples/."""
    chat = load_tokenizer(str(policy_folder))
    model = load_policy(policy_folder).requires_grad_(False)
    hold_in_bf16(model)
    types = [weight.dtype for weight in model.parameters()]
    assert {torch.float32, torch.bfloat16} == set(types)
    batch = prompt_batch(
        [prompt_ids(chat, "Name a cat.")], ["Name a cat."], prompt_indices=[0], num_responses=2,
        pad_token_id=chat.pad_token_id, device=torch.device("cpu"),
    )  # fmt: skip
    sampling = Sampling(
        max_new_tokens=6, temperature=0.7, eos_token_ids=chat.eos_token_ids,
        pad_token_id=chat.pad_token_id, seed=3, iteration=2,
    )  # fmt: skip
    engine = ContinuousEngine()
    engine.update_weights(model)
    generated = engine.generate(batch, sampling)
    assert generated.response_mask.sum() > 2
    assert torch.isfinite(generated.logprobs).all()
    assert [weight.dtype for weight in model.parameters()] == types
