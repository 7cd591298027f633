"""Estimators without a critic, and modes that share a backbone, on the same engine."""

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from rlhf.models.forward import policy_logprobs
from rlhf.models.load import load_policy
from rlhf.models.sequences import as_sequences, sequences_of
from rlhf.ops.kl import kl_k1
from rlhf.training.common.metrics import read_metrics
from tests.errors import raises
from tests.training.ppo.tiny_ppo import (
    experience_from,
    experience_of,
    make_folder,
    scored_of,
    trainer,
    update,
    weights,
)

VARIANTS = [
    {"advantage": "rloo"},
    {"advantage": "grpo"},
    {"mode": "shared_trunk"},
    {"mode": "lora", "lora_r": 4},
    {"mode": "lora", "lora_r": 4, "advantage": "grpo"},
    {"advantage": "dr_grpo", "loss_type": "dr_grpo", "dynamic_sampling": 2},
    {"advantage": "reinforce++", "gamma": 0.9, "loss_type": "dapo"},
    {"advantage": "reinforce++_baseline", "overlong_buffer": 3},
    {"advantage": "remax"},
    {"advantage": "grpo", "importance_level": "sequence", "loss_type": "sequence-mean"},
    {"advantage": "grpo", "surrogate": "cispo", "clip_range_high": 4.0, "entropy_coef": 0.1},
    {"mode": "shared_trunk", "kl_in": "loss", "entropy_coef": 0.1, "clip_range_high": 0.3},
    {"mode": "lora", "lora_r": 4, "entropy_coef": 0.1},
]


LONG_RUN = {
    "rollout_batch_size": 32,
    "num_generations": 4,
    "max_completion_length": 8,
    "max_steps": 30,
    "save_steps": 30,
    "kl_coef": 0.01,
    "learning_rate": 3e-3,
}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("modes"))


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_each_variant_starts_at_identity_and_resumes_exactly(folder, tmp_path, changes):
    whole = trainer(folder, tmp_path / "a", max_steps=2, learning_rate=1e-2, **changes)
    start = copy.deepcopy(weights(whole))
    result = whole.train()
    first, second = read_metrics(tmp_path / "a")
    assert first["first_ratio"] == pytest.approx(1.0, abs=1e-4)
    assert first["first_clip_fraction"] == 0.0
    assert first["kl_k3_per_token"] < 1e-5
    assert second["kl_k3_per_token"] > 1e-5  # it has moved away from the reference
    assert result.before.rollouts.texts != result.after.rollouts.texts
    assert any(not torch.equal(tensor, start[name]) for name, tensor in weights(whole).items())
    resumed = trainer(
        folder, tmp_path / "b", tmp_path / "a/checkpoint-1", max_steps=2, learning_rate=1e-2,
        **changes,
    )  # fmt: skip
    resumed.train()
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(resumed)[name]), name


@pytest.mark.parametrize("advantage", ["rloo", "grpo", "remax"])
def test_estimators_without_a_critic_load_and_log_none(folder, tmp_path, advantage):
    one = trainer(folder, tmp_path, advantage=advantage, max_steps=1)
    one.train()
    assert one.models.critic is None
    assert one.updater.critic is None
    (line,) = read_metrics(tmp_path)
    assert not {"value_loss", "value_grad_norm", "explained_variance"} & line.keys()
    assert ("kl_loss" in line) == (advantage == "grpo")


def test_rloo_advantage_is_difference_to_the_other_response(folder, tmp_path):
    """Two responses per prompt: R_i - R_j, on every token of response i; R = score - 0.05 Σ k1."""
    one = trainer(folder, tmp_path, advantage="rloo")
    scored = scored_of(one)
    experience, mask = experience_from(one, scored), scored.rollouts.response_mask
    k1 = kl_k1(scored.rollouts.logprobs, scored.ref_logprobs)
    total = scored.scores.scores - 0.05 * (k1 * mask).sum(1)
    expected = (total - total.view(-1, 2).flip(1).flatten())[:, None] * mask
    torch.testing.assert_close(experience.advantages, expected, atol=1e-6, rtol=0)


def test_grpo_penalty_is_in_the_loss_not_in_the_rewards(folder, tmp_path):
    one = trainer(folder, tmp_path, advantage="grpo", kl_coef=0.7, learning_rate=1e-2)
    one.train()
    experience = experience_of(one, 4)
    scores = experience.rewards.sum(1)
    assert torch.equal(scores * 4, (scores * 4).round())  # vowels / 4, no penalty on top
    assert [line["kl_loss"] > 0 for line in read_metrics(tmp_path)] == [True] * 3


def test_larger_kl_coef_keeps_grpo_closer(folder, tmp_path):
    """After ten iterations; in three, the penalty's own noise moves the policy as far."""
    kl = {}
    for coef in (0.0, 5.0):
        options = {"kl_coef": coef, "learning_rate": 3e-3, "max_steps": 10, "save_steps": 10}
        trainer(folder, tmp_path / str(coef), advantage="grpo", **options).train()
        kl[coef] = read_metrics(tmp_path / str(coef))[-1]["kl_k3"]
    assert kl[5.0] < kl[0.0]


def test_shared_trunk_pass_equals_two_separate_passes(folder, tmp_path):
    one = trainer(folder, tmp_path, mode="shared_trunk")
    rollouts = experience_of(one).rollouts
    sequences = as_sequences(
        rollouts.batch.input_ids,
        rollouts.batch.attention_mask,
        rollouts.response_ids,
        rollouts.response_mask,
    )
    (learner,) = one.models.modules
    logprobs, values, entropies = learner(sequences)
    assert entropies is None
    apart = policy_logprobs(one.models.policy, sequences, temperature=1.0)
    torch.testing.assert_close(logprobs, apart, atol=1e-6, rtol=0)
    torch.testing.assert_close(values, one.models.critic(sequences), atol=1e-6, rtol=0)
    values.sum().backward()
    assert all(p.grad is not None for p in one.models.critic.trunk.parameters())


@pytest.mark.parametrize("mode", ["separate", "shared_trunk", "lora"])
def test_update_on_packed_rows_equals_padded_rows(folder, tmp_path, mode):
    """Same rollouts, an iteration's updates, both learners: weights within float32's rounding,
    after steps of 1e-2 that a token read wrong would send another way."""
    weights = {}
    for packed in (False, True):
        one = trainer(folder, tmp_path / str(packed), mode=mode, max_steps=1, learning_rate=1e-2)
        assert one.updater.packed
        one.updater.packed = packed
        experience = experience_of(one)
        laid_out = sequences_of(experience.select(slice(None)), packed=packed)
        assert (laid_out.cells is not None) is packed
        before = torch.cat([p.detach().flatten().clone() for p in one.models.policy_parameters])
        update(one, experience)
        parameters = [*one.models.policy_parameters, *one.models.critic_parameters]
        weights[packed] = torch.cat([p.detach().flatten() for p in parameters])
        assert (weights[packed][: len(before)] - before).abs().max() > 5e-3
    torch.testing.assert_close(weights[True], weights[False], atol=1e-4, rtol=0)


def test_saved_lora_adapter_loads_as_the_trained_policy(folder, tmp_path):
    """The checkpoint holds the policy's adapter at its root, and none of the critic's."""
    one = trainer(folder, tmp_path, mode="lora", lora_r=4, max_steps=1, learning_rate=1e-2)
    one.train()
    checkpoint = tmp_path / "checkpoint-1"
    assert not (checkpoint / "critic").exists()
    rows = experience_of(one).rollouts
    ids = rows.batch.input_ids[:1, rows.batch.attention_mask[0]]
    with torch.no_grad():
        expected = one.models.policy(ids).logits
        merged = load_policy(checkpoint)(ids).logits
        plain = AutoModelForCausalLM.from_pretrained(checkpoint)(ids).logits
    torch.testing.assert_close(merged, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(plain, expected, atol=1e-5, rtol=0)


def test_lora_trains_only_the_adapters(folder, tmp_path):
    one = trainer(folder, tmp_path, mode="lora", lora_r=4, max_steps=2, learning_rate=1e-2)
    before = copy.deepcopy(weights(one))
    one.train()
    moved = {name for name, x in weights(one).items() if not torch.equal(x, before[name])}
    assert all(".lora_" in name or name.startswith("critic.head") for name in moved)
    assert any(".default." in name for name in moved)
    assert any(".critic." in name for name in moved)


def test_another_mode_does_not_resume(folder, tmp_path):
    trainer(folder, tmp_path / "a", max_steps=1).train()
    with raises("other-run", "advantage gae", "rloo"):
        trainer(folder, tmp_path / "b", tmp_path / "a/checkpoint-1", advantage="rloo")


def test_importance_weights_make_the_first_kl_exactly_zero(folder, tmp_path):
    """Policy and reference are then read by one forward pass; decode's rounding is weighed."""
    one = trainer(folder, tmp_path, importance_weight_cap=2.0)
    scored = scored_of(one)
    rollouts = scored.rollouts
    assert torch.equal(rollouts.logprobs, scored.ref_logprobs)
    torch.testing.assert_close(
        rollouts.importance_weights, torch.ones_like(rollouts.importance_weights), atol=1e-4, rtol=0
    )
    one.train()
    assert read_metrics(tmp_path)[0]["kl"] == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("changes", [{}, *VARIANTS[:3], *VARIANTS[5:11]], ids=str)
def test_reward_rises(folder, tmp_path, changes, seed):
    """30 iterations of 32 responses: vowels a text, over 4, rise by more than half."""
    trainer(folder, tmp_path, seed=seed, **LONG_RUN, **changes).train()
    scores = [line["score"] for line in read_metrics(tmp_path)]
    assert sum(scores[-3:]) > 1.5 * sum(scores[:3])


@pytest.fixture(scope="module")
def peaked(tmp_path_factory):
    """A policy whose output layer is ten times as large: its logits spread as a trained one's do.

    Adapters leave the output layer alone. A random one of std 0.02 holds every logit of a state
    of norm √32 within about ±0.6, and whatever the layers below learn, no token becomes likely.
    """
    folder = make_folder(tmp_path_factory.mktemp("peaked"))
    file = folder / "policy" / "model.safetensors"
    tensors = load_file(file)
    save_file(tensors | {"lm_head.weight": 10 * tensors["lm_head.weight"]}, file, {"format": "pt"})
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_reward_rises_with_lora_and_critic(peaked, tmp_path, seed):
    """As above, by adapters of rank 4 for policy and critic on one frozen backbone."""
    options = LONG_RUN | {"mode": "lora", "lora_r": 4, "learning_rate": 1e-2}
    trainer(peaked, tmp_path, seed=seed, **options).train()
    scores = [line["score"] for line in read_metrics(tmp_path)]
    assert sum(scores[-3:]) > 1.5 * sum(scores[:3])
