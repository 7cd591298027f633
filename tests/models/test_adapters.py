"""One backbone, two adapters: what peft's switches must not do on the way."""

import pytest
import torch

from rlhf.models.adapters import (
    CRITIC,
    POLICY,
    AdapterCritic,
    parameters_of,
    policy_with_adapters,
    using_adapter,
    without_adapters,
)
from rlhf.models.config import ModelConfig
from rlhf.models.critic import fresh_head
from rlhf.models.forward import policy_logprobs
from rlhf.models.load import load_policy
from rlhf.models.sequences import as_sequences
from tests.tiny_models import make_model

ONES = torch.ones(2, 3, dtype=torch.bool)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("adapters") / "llama")


@pytest.fixture
def model(folder):
    config = ModelConfig(model_name_or_path=str(folder), use_peft=True, lora_r=2)
    return policy_with_adapters(folder, config, critic=True, checkpoint=None, seed=0)


def sequences():
    ids = torch.tensor([[5, 6, 7], [8, 9, 10]])
    return as_sequences(ids, ONES, ids + 20, ONES)


def trained(model):
    return {name for name, p in model.named_parameters() if p.requires_grad}


def moved(model, adapter):
    """The adapter, no longer the identity."""
    for name, parameter in model.named_parameters():
        if "lora_B" in name and f".{adapter}." in name:
            parameter.data.fill_(0.05)


def test_only_both_adapters_are_trained(model):
    names = trained(model)
    assert names == {name for name, _ in model.named_parameters() if ".lora_" in name}
    assert len(parameters_of(model, POLICY)) == len(parameters_of(model, CRITIC)) > 0
    assert 2 * len(parameters_of(model, POLICY)) == len(names)


def test_switching_adapters_freezes_none(model):
    before = trained(model)
    with using_adapter(model, CRITIC):
        pass
    assert trained(model) == before
    with without_adapters(model), without_adapters(model):
        pass
    assert trained(model) == before
    assert model.active_adapter == POLICY


def test_without_adapters_equals_the_loaded_model(model, folder):
    """Bit for bit, whatever the adapters have learnt."""
    moved(model, POLICY)
    moved(model, CRITIC)
    plain = load_policy(folder)
    with torch.no_grad():
        expected = policy_logprobs(plain, sequences(), temperature=1.0)
        with without_adapters(model) as reference:
            logprobs = policy_logprobs(reference, sequences(), temperature=1.0)
        changed = policy_logprobs(model, sequences(), temperature=1.0)
    assert torch.equal(logprobs, expected)
    assert not torch.equal(changed, expected)


def test_critic_uses_only_its_own_adapter(model):
    """Moving the policy's adapter moves no value; moving the critic's moves no log-prob."""
    critic = AdapterCritic(model, fresh_head(model, seed=0))
    with torch.no_grad():
        values = critic(sequences())
        moved(model, POLICY)
        assert torch.equal(critic(sequences()), values)
        logprobs = policy_logprobs(model, sequences(), temperature=1.0)
        moved(model, CRITIC)
        assert torch.equal(policy_logprobs(model, sequences(), temperature=1.0), logprobs)
        assert not torch.equal(critic(sequences()), values)


def test_one_backward_pass_reaches_both_adapters(model):
    """The graph of the policy is built before the critic's forward switches away from it."""
    critic = AdapterCritic(model, fresh_head(model, seed=0))
    moved(model, POLICY)
    moved(model, CRITIC)
    logprobs = policy_logprobs(model, sequences(), temperature=1.0)
    (logprobs.sum() + critic(sequences()).sum()).backward()
    both = [*parameters_of(model, POLICY), *parameters_of(model, CRITIC)]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in both)
    frozen = [p for name, p in model.named_parameters() if ".lora_" not in name]
    assert all(p.grad is None for p in frozen)
