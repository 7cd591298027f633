"""Frozen parts, steps that move nothing, and gradients of exactly 0 stop a run."""

import pytest
import torch
from torch import nn
from transformers import PegasusConfig, PegasusForCausalLM

from rlhf.models.config import ModelConfig
from rlhf.models.load import load_policy, new_reward_model
from rlhf.models.lora import add_lora
from rlhf.training.common.metrics import read_metrics
from rlhf.training.common.weight_checks import (
    Movement,
    check_trainable,
    check_zero_norm,
    parts_of,
    wants_change,
)
from tests.errors import raises
from tests.training.ppo.tiny_ppo import make_folder, trainer


def check(model):
    check_trainable(parts_of(model), [model])


def lora(model, task):
    return add_lora(model, ModelConfig(model_name_or_path="x", use_peft=True, lora_r=2), task)


def test_full_models_and_adapters_pass(llama):
    check(load_policy(llama))
    check(new_reward_model(llama, seed=0))
    check(lora(load_policy(llama), "CAUSAL_LM"))
    check(lora(new_reward_model(llama, seed=0), "SEQ_CLS"))


def test_error_names_frozen_part_and_its_first_weight(llama):
    """A Llama of two layers has 2 * 9 tensors, embeddings, a norm, and here an output layer."""
    policy = load_policy(llama).requires_grad_(False)
    with raises("nothing-trained", "model: 21 of 21", "(model.embed_tokens.weight, …)"):
        check(policy)
    policy.requires_grad_(True).lm_head.requires_grad_(False)
    with raises("nothing-trained", "model: 1 of 21", "(lm_head.weight)"):
        check(policy)
    reward = new_reward_model(llama, seed=0)
    reward.base_model.requires_grad_(False)  # as in a merged adapter
    with raises("nothing-trained", "model: 20 of 20"):
        check(reward)


def test_adapter_without_weights_or_with_frozen_head_is_rejected(llama):
    with raises("nothing-trained", "LoRA adapter"):
        check_trainable({"LoRA adapter": []}, [])
    reward = lora(new_reward_model(llama, seed=0), "SEQ_CLS")
    reward.get_base_model().score.requires_grad_(False)
    with raises("nothing-trained", "modules saved with the adapter: 1 of 1"):
        check(reward)


def test_weights_that_an_architecture_freezes_pass():
    """Pegasus has a table of sinusoids for its positions."""
    size = {"d_model": 16, "decoder_layers": 1, "decoder_attention_heads": 2, "vocab_size": 20}
    model = PegasusForCausalLM(PegasusConfig(**size, decoder_ffn_dim=16))
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen == ["model.decoder.embed_positions.weight"]
    check(model)


def step(weight, gradient, *, lr, movement, optimizer=None):
    """One AdamW step of `weight` along `gradient`, watched."""
    optimizer = optimizer or torch.optim.AdamW([weight], lr=lr, weight_decay=0.0)
    weight.grad = gradient
    movement.before_step(optimizer)
    optimizer.step()
    movement.after_step(3, optimizer)


def test_step_that_rounds_to_nothing_stops_the_run():
    """bfloat16 has 2^-8 between 1 and 2: a first AdamW step of 1e-4 is lost, one of 1e-2 is not."""
    weight = nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    gradient = torch.ones(4, dtype=torch.bfloat16)
    with raises("nothing-trained", "step 3", "bfloat16"):
        step(weight, gradient, lr=1e-4, movement=Movement({"model": [weight]}))
    movement = Movement({"model": [weight]})
    step(weight, gradient, lr=1e-2, movement=movement)
    assert movement.parts == {}  # it moved, and is no longer watched


def test_one_moving_weight_is_enough():
    weight = nn.Parameter(torch.tensor([1.0, 0.0], dtype=torch.bfloat16))
    step(weight, torch.ones(2).bfloat16(), lr=1e-4, movement=Movement({"model": [weight]}))


def test_optimizer_of_other_weights_stops_the_run():
    weight, other = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))
    optimizer = torch.optim.AdamW([other], lr=1e-3)
    with raises("nothing-trained", "step 3"):
        step(weight, torch.ones(4), lr=1e-3, movement=Movement({"model": [weight]}),
             optimizer=optimizer)  # fmt: skip


@pytest.mark.parametrize(("lr", "size"), [(0.0, 1.0), (1e-3, 0.0), (1e-3, 1e-9)])
def test_steps_without_rate_or_gradient_do_not_count(lr, size):
    """A learning rate of 0; no gradient; a gradient below Adam's epsilon of 1e-8."""
    weight = nn.Parameter(torch.ones(4) * 100)
    movement = Movement({"model": [weight]})
    step(weight, torch.full((4,), size), lr=lr, movement=movement)
    assert list(movement.parts) == ["model"]


def test_zero_norm_is_rejected_only_if_the_loss_has_a_derivative():
    yes, no = torch.tensor(True), torch.tensor(False)
    check_zero_norm(1e-30, yes, 5, "policy")
    check_zero_norm(0.0, no, 5, "policy")
    with raises("nothing-trained", "step 5", "policy"):
        check_zero_norm(0.0, yes, 5, "policy")


def test_certain_token_has_no_derivative():
    """Log-probs 0 and -1, both with a gradient: no change of logits raises the first."""
    logprobs = torch.tensor([0.0, -1.0], requires_grad=True)
    (logprobs * torch.tensor([1.0, 0.0])).sum().backward()
    assert not wants_change(logprobs, logprobs=True)
    assert wants_change(logprobs)


@pytest.fixture
def folder(tmp_path):
    folder = make_folder(tmp_path / "models")
    (folder / "same.py").write_text(
        "def same(prompts, completions):\n    return [1.0] * len(prompts)"
    )
    return folder


@pytest.mark.parametrize("advantage", ["rloo", "grpo"])
def test_ppo_continues_where_all_responses_tie(folder, tmp_path, advantage):
    """All advantages are 0, and without a KL penalty the gradient is: there is nothing to learn."""
    trainer(
        folder, tmp_path / "run", advantage=advantage, reward=[f"{folder}/same.py:same"],
        kl_coef=0.0, max_steps=2,
    ).train()  # fmt: skip
    assert [line["grad_norm"] for line in read_metrics(tmp_path / "run")] == [0.0, 0.0]


@pytest.mark.parametrize("mode", ["separate", "shared_trunk", "lora"])
def test_ppo_continues_while_the_critic_warms_up(folder, tmp_path, mode):
    one = trainer(folder, tmp_path / "run", mode=mode, critic_warmup_steps=2, max_steps=3)
    one.train()
    norms = [line["grad_norm"] for line in read_metrics(tmp_path / "run")]
    assert norms[2] > 0
    if mode != "shared_trunk":  # there the value loss reaches the trunk
        assert norms[:2] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("keys", "part"),
    [
        ({}, "policy"),
        ({"advantage": "grpo"}, "policy"),
        ({"mode": "shared_trunk"}, "policy"),
        ({"mode": "lora"}, "policy"),
        ({}, "critic"),
        ({"mode": "lora"}, "critic"),
    ],
)
def test_ppo_stops_at_a_gradient_of_zero(folder, tmp_path, keys, part):
    one = trainer(folder, tmp_path / "run", **keys)
    models = one.models
    for parameter in models.critic_parameters if part == "critic" else models.policy_parameters:
        parameter.register_hook(torch.zeros_like)
    with raises("nothing-trained", "step 1", part):
        one.train()


def test_ppo_stops_before_the_first_step_if_a_part_is_frozen(folder, tmp_path):
    one = trainer(folder, tmp_path / "run")
    one.models.critic.trunk.requires_grad_(False)
    with raises("nothing-trained", "critic: 20 of 22", "critic.trunk.embed_tokens"):
        type(one.updater)(one.accelerator, one.models, one.config, one.compute)
