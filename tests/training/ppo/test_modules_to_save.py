"""`lora_modules_to_save` in mode lora: modules that the policy trains in full."""

import pytest
import torch
from transformers import AutoTokenizer

from rlhf.models.adapters import (
    POLICY,
    AdapterCritic,
    parameters_of,
    policy_with_adapters,
    without_adapters,
)
from rlhf.models.config import ModelConfig
from rlhf.models.critic import fresh_head
from rlhf.models.forward import policy_logprobs
from rlhf.models.load import load_policy
from rlhf.models.sequences import as_sequences
from rlhf.training.common.metrics import read_metrics
from tests.errors import raises
from tests.tiny_models import make_model
from tests.training.ppo.tiny_ppo import make_folder, trainer
from tests.training.tiny_runs import assert_same_weights

MODULES = ["embed_tokens", "lm_head"]
KEYS = {"mode": "lora", "lora_r": 4, "lora_modules_to_save": MODULES}
ONES = torch.ones(2, 3, dtype=torch.bool)


def make(folder, family="llama"):
    make_folder(folder)
    make_model(folder / "policy", family)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make(tmp_path_factory.mktemp("saved"))


def sequences():
    ids = torch.tensor([[5, 6, 7], [8, 9, 10]])
    return as_sequences(ids, ONES, ids + 20, ONES)


@pytest.mark.parametrize("family", ["llama", "gemma"])
@pytest.mark.parametrize("advantage", ["gae", "grpo"])
def test_run_starts_at_its_reference_trains_the_modules_and_resumes(tmp_path, family, advantage):
    """Ratios are 1 in later iterations too: the sampler reads the trained embeddings."""
    folder, keys = make(tmp_path / family, family), KEYS | {"advantage": advantage}
    whole = trainer(folder, tmp_path / "whole", **keys)
    whole.train()
    lines = read_metrics(tmp_path / "whole")
    assert abs(lines[0]["kl"]) < 1e-4
    assert [line["first_ratio"] for line in lines] == pytest.approx([1.0] * 3, abs=1e-4)
    again = trainer(folder, tmp_path / "again", tmp_path / "whole" / "checkpoint-1", **keys)
    again.train()
    assert_same_weights(whole.models.policy, again.models.policy, rtol=0, atol=0)
    base = load_policy(folder / "policy")
    inner = whole.models.policy.get_base_model()
    for name, own in (("embed_tokens", inner.model.embed_tokens), ("lm_head", inner.lm_head)):
        before = dict(base.named_modules(remove_duplicate=False))
        before = next(m for key, m in before.items() if key.endswith(name)).weight
        assert torch.equal(own.original_module.weight, before)
        assert not torch.equal(own.modules_to_save["default"].weight, before)


@pytest.mark.parametrize("family", ["llama", "gemma"])
def test_saved_policy_loads_with_the_trained_modules(tmp_path, family):
    """Tied embeddings stay one matrix."""
    one = trainer(make(tmp_path / family, family), tmp_path / "run", **KEYS)
    one.train()
    saved = one.save(tmp_path / "saved")
    ids = AutoTokenizer.from_pretrained(saved)("a cat", return_tensors="pt").input_ids
    loaded = load_policy(saved).eval()
    with torch.no_grad():
        expected = one.models.policy(ids).logits
        torch.testing.assert_close(loaded(ids).logits, expected, atol=1e-5, rtol=1e-5)
    tied = loaded.get_input_embeddings().weight is loaded.get_output_embeddings().weight
    assert tied == (family == "gemma")


def test_critic_and_reference_read_the_frozen_modules(folder):
    path = folder / "policy"
    config = ModelConfig(
        model_name_or_path=str(path), use_peft=True, lora_r=2, lora_modules_to_save=MODULES
    )
    model = policy_with_adapters(path, config, critic=True, checkpoint=None, seed=0)
    critic = AdapterCritic(model, fresh_head(model, seed=0))
    saved = [p for name, p in model.named_parameters() if ".modules_to_save." in name]
    assert {id(p) for p in saved} <= {id(p) for p in parameters_of(model, POLICY)}
    with torch.no_grad():
        values = critic(sequences())
        logprobs = policy_logprobs(model, sequences(), temperature=1.0)
        for parameter in saved:
            parameter.mul_(1.5)
        assert torch.equal(critic(sequences()), values)
        with without_adapters(model) as reference:
            assert torch.equal(policy_logprobs(reference, sequences(), temperature=1.0), logprobs)
        assert not torch.equal(policy_logprobs(model, sequences(), temperature=1.0), logprobs)
    assert all(p.requires_grad for p in saved)


def test_value_head_of_tied_embeddings_reads_hidden_states(tmp_path):
    path = make(tmp_path, "gemma") / "policy"
    config = ModelConfig(
        model_name_or_path=str(path), use_peft=True, lora_r=2, lora_modules_to_save=MODULES
    )
    model = policy_with_adapters(path, config, critic=True, checkpoint=None, seed=0)
    assert fresh_head(model, seed=0).in_features == 32


def test_checkpoint_of_other_modules_is_rejected(folder, tmp_path):
    trainer(folder, tmp_path / "run", max_steps=2, mode="lora", lora_r=4).train()
    with raises("other-run", "lora_modules_to_save"):
        trainer(folder, tmp_path / "again", tmp_path / "run" / "checkpoint-1", **KEYS)


def test_unknown_module_is_an_error(folder, tmp_path):
    with raises("bad-value", "lora_modules_to_save", "nothing"):
        trainer(folder, tmp_path / "run", **KEYS | {"lora_modules_to_save": ["nothing"]})


def test_modules_without_lora_are_an_error(folder, tmp_path):
    with raises("key-conflict", "lora_modules_to_save"):
        trainer(folder, tmp_path / "run", lora_modules_to_save=MODULES)
