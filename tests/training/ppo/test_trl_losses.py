"""Gradients of the policy's loss against those of TRL's GRPO trainer, on the same tensors.

Its loss is called on log-probs made by hand, without a model: a stand-in has the settings that the
loss reads. Values are compared as well, where both have the same.
"""

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch
from trl import GRPOTrainer

from rlhf.ops.loss_means import loss_denominator, token_weights
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.loss import policy_terms
from rlhf.types import Minibatch

KL_COEF, MAX_LENGTH, MINIBATCHES, TOKENS = 0.3, 8, 4, 50
LENGTHS = torch.tensor([5, 1, 3, 5])
FINISHED = torch.tensor([True, True, True, False])


def tensors():
    """Log-probs of three policies, 0.3 nats per token apart; an advantage of each response."""
    generator = torch.Generator().manual_seed(0)
    old = -3 * torch.rand(4, 5, generator=generator) - 0.5
    near = [old + 0.3 * torch.randn(4, 5, generator=generator) for _ in range(2)]
    mask = torch.arange(5) < LENGTHS[:, None]
    return old, *near, mask, torch.tensor([1.0, -2.0, 0.5, -1.0])


def ours(config, entropies=None):
    """Loss, and its gradient with respect to the new log-probs (and entropies)."""
    old, new, ref, mask, advantages = tensors()
    loss_mask = mask & FINISHED[:, None] if config.mask_truncated else mask
    new.requires_grad_(True)
    ones = torch.ones(4, 5)
    batch = Minibatch(
        prompt_ids=torch.ones(4, 1, dtype=torch.long),
        prompt_mask=torch.ones(4, 1, dtype=torch.bool),
        response_ids=torch.ones(4, 5, dtype=torch.long),
        response_mask=mask,
        action_mask=mask,
        logprobs=old,
        ref_logprobs=ref,
        importance_weights=ones,
        loss_weights=token_weights(loss_mask, config.loss_type),
        advantages=advantages[:, None].expand(4, 5),
        values=None,
        returns=None,
    )
    loss, _ = policy_terms(batch, new, config, config.kl_coef, entropies)
    loss = loss / loss_denominator(
        loss_mask,
        config.loss_type,
        max_length=MAX_LENGTH,
        tokens_per_minibatch=TOKENS / MINIBATCHES,
    )
    loss.backward()
    return loss.item(), new.grad


def trls(entropies=None, truncated=False, **settings):
    """The same of TRL, with these settings of its configuration."""
    old, new, ref, mask, advantages = tensors()
    new.requires_grad_(True)
    keys = {
        "loss_type": "bnpo",
        "importance_sampling_level": "token",
        "epsilon_low": 0.2,
        "epsilon_high": 0.2,
        "beta": 0.0,
        **settings,
    }
    stand_in = SimpleNamespace(
        **keys,
        args=SimpleNamespace(
            delta=settings.get("delta"),
            use_bias_correction_kl=settings.get("use_bias_correction_kl", False),
            steps_per_generation=MINIBATCHES,
        ),
        accelerator=SimpleNamespace(
            num_processes=1,
            gather=lambda tensor: tensor,
            reduce=lambda tensor, reduction: tensor,
            sync_gradients=False,
        ),
        model=SimpleNamespace(training=True),
        max_completion_length=MAX_LENGTH,
        current_gradient_accumulation_steps=1,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        use_vllm=False,
        vllm_importance_sampling_correction=False,
        aux_loss_enabled=False,
        use_adaptive_entropy=False,
        _entropy_bonus_enabled=entropies is not None,
        _metrics=defaultdict(lambda: defaultdict(list)),
        _get_per_token_logps_and_entropies=lambda *args, **kwargs: (
            new,
            torch.zeros(4, 5) if entropies is None else entropies,
            None,
        ),
    )
    loss = GRPOTrainer._compute_loss(
        stand_in,
        None,
        {
            "prompt_ids": torch.ones(4, 1, dtype=torch.long),
            "prompt_mask": torch.ones(4, 1, dtype=torch.long),
            "completion_ids": torch.ones(4, 5, dtype=torch.long),
            "completion_mask": (mask & FINISHED[:, None] if truncated else mask).long(),
            "advantages": advantages,
            "old_per_token_logps": old,
            "ref_per_token_logps": ref,
            "num_items_in_batch": torch.tensor(TOKENS),
        },
    )
    loss.backward()
    return loss.item(), new.grad


CASES = {
    "token-mean": ({}, {}),
    "sequence-mean": ({"loss_type": "sequence-mean"}, {"loss_type": "grpo"}),
    "dr_grpo": ({"loss_type": "dr_grpo"}, {"loss_type": "dr_grpo"}),
    "dapo": ({"loss_type": "dapo"}, {"loss_type": "dapo"}),
    "clip-higher": ({"clip_range_high": 0.6}, {"epsilon_high": 0.6}),
    "dual clip": ({"dual_clip": 1.5}, {"delta": 1.5}),
    "GSPO": (
        {"importance_level": "sequence", "loss_type": "sequence-mean", "clip_range": 0.1},
        {
            "importance_sampling_level": "sequence",
            "loss_type": "grpo",
            "epsilon_low": 0.1,
            "epsilon_high": 0.1,
        },
    ),
    "GSPO per token": (
        {"importance_level": "sequence"},
        {"importance_sampling_level": "sequence"},
    ),
    "CISPO": (
        {"surrogate": "cispo", "clip_range_high": 0.5, "loss_type": "dapo"},
        {"loss_type": "cispo", "epsilon_high": 1.5},
    ),
    "truncated": (
        {"mask_truncated": True, "loss_type": "sequence-mean"},
        {"truncated": True, "loss_type": "grpo"},
    ),
    "truncated, tokens": ({"mask_truncated": True}, {"truncated": True}),
    "k3": (
        {"kl_estimator": "k3", "kl_coef": KL_COEF, "loss_type": "sequence-mean"},
        {"beta": KL_COEF, "loss_type": "grpo"},
    ),
}


def config(**keys) -> PPOConfig:
    return PPOConfig(
        **{"max_steps": 1, "advantage": "grpo", "num_generations": 2, "kl_coef": 0.0, **keys}
    )


@pytest.mark.parametrize(("keys", "settings"), CASES.values(), ids=CASES)
def test_loss_and_gradient_equal_trl(keys, settings):
    loss, gradient = ours(config(**keys))
    expected_loss, expected = trls(**settings)
    assert gradient.abs().max() > 0.01
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-5)


def test_default_kl_penalty_has_the_gradient_of_trls_corrected_one():
    """Ours is k2 with the ratio fixed, TRL's k3 with the gradient of the ratio: other values."""
    _, gradient = ours(config(kl_coef=KL_COEF))
    _, expected = trls(beta=KL_COEF, use_bias_correction_kl=True)
    _, plain = trls()
    assert (expected - plain).abs().max() > 0.01
    torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-4)


def test_entropy_bonus_equals_trl():
    entropies = [torch.rand(4, 5, generator=torch.Generator().manual_seed(1)) for _ in range(2)]
    for tensor in entropies:
        tensor.requires_grad_(True)
    loss, gradient = ours(config(entropy_coef=0.2), entropies[0])
    expected_loss, expected = trls(entropies[1], entropy_coef=0.2)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(entropies[0].grad, entropies[1].grad, atol=1e-6, rtol=1e-5)
