"""Rollouts that are sampled one iteration ahead: whose weights, exact resume, errors."""

import json

import pytest
import torch

from rlhf.training.common.checkpoint import verify_checkpoint
from rlhf.training.ppo.config import PPOConfig
from tests.errors import raises
from tests.rollouts.fake_server import FakeServer
from tests.training.ppo.tiny_ppo import make_folder, trainer, weights

LAG = {"rollout_lag": 1, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("ahead"))


def lines_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("keys", [{}, {"mode": "lora"}, {"advantage": "grpo"}], ids=str)
def test_responses_are_one_update_old(folder, tmp_path, keys):
    """The first iteration has none to be ahead of; later ones differ by one update."""
    trainer(folder, tmp_path, max_steps=4, **LAG, **keys).train()
    first, *later = [line["logprob_gap"] for line in lines_of(tmp_path)]
    assert first < 1e-5
    assert all(gap > 1e-4 for gap in later)


def test_sampled_weights_are_those_before_the_update(folder, tmp_path):
    """The responses of iteration 2 have the log-probs of the first policy, and its noise."""
    ahead = trainer(folder, tmp_path / "a", max_steps=2, **LAG)
    before = {name: tensor.clone() for name, tensor in ahead.models.policy.state_dict().items()}
    expected = ahead.sampler.roll_out(ahead.models.policy, ahead.sampler.next_prompts(2), 2)
    with torch.no_grad():
        ahead.sampler.start_next(ahead.models.policy, 2)
        for parameter in ahead.models.policy.parameters():
            parameter += 0.05
    given = ahead.sampler.roll_out(ahead.models.policy, ahead.sampler.next_prompts(2), 2)
    assert torch.equal(given.response_ids, expected.response_ids)
    torch.testing.assert_close(given.sampler_logprobs, expected.sampler_logprobs)
    assert (given.logprobs - expected.logprobs).abs().max() > 0.01
    assert before.keys() == ahead.models.policy.state_dict().keys()


def test_reference_of_a_lora_policy_is_sampled_without_adapters(folder, tmp_path):
    """After responses of the policy; the sampler's log-probs are those of the reference."""
    made = trainer(folder, tmp_path, max_steps=2, mode="lora", **LAG)
    with torch.no_grad():
        for parameter in made.models.policy_parameters:
            parameter += 0.05
    made.sampler.roll_out(made.models.policy, made.sampler.next_prompts(1), 1)
    rollouts = made.sampler.score_held_out(1, reference=True).rollouts
    torch.testing.assert_close(rollouts.sampler_logprobs, rollouts.logprobs, atol=1e-4, rtol=0)
    after = made.sampler.score_held_out(1).rollouts
    torch.testing.assert_close(after.sampler_logprobs, after.logprobs, atol=1e-4, rtol=0)
    assert after.response_ids.tolist() != rollouts.response_ids.tolist()


@pytest.mark.parametrize("keys", [{}, {"mode": "lora"}], ids=str)
def test_resumed_run_equals_uninterrupted_run(folder, tmp_path, keys):
    """The checkpoint has the responses that were sampled ahead."""
    whole = trainer(folder, tmp_path / "a", max_steps=4, **LAG, **keys)
    whole.train()
    checkpoint = tmp_path / "a" / "checkpoint-2"
    resumed = trainer(folder, tmp_path / "b", checkpoint, max_steps=4, **LAG, **keys)
    assert resumed.sampler.ahead.step == 3
    resumed.train()
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(resumed)[name]), name


def test_lost_server_ends_the_run(folder, tmp_path):
    """In the background, while iteration 1 is trained on; its checkpoint is complete."""
    server = FakeServer(folder / "policy", die_after=6)
    keys = {"rollout_engine": "vllm", "rollout_server": server.address}
    with raises("engine-lost"):
        trainer(folder, tmp_path, max_steps=3, **LAG, **keys).train()
    server.close()
    verify_checkpoint(tmp_path / "checkpoint-1")


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        ({"rollout_engine": "transformers"}, "transformers"),
        ({"dynamic_sampling": 1, "advantage": "grpo", "num_generations": 2}, "dynamic_sampling"),
        ({"advantage": "remax"}, "remax"),
        ({"recompute_logprobs": "never"}, "never"),
    ],
)
def test_what_needs_the_engine_meanwhile_is_rejected(keys, name):
    with raises("key-conflict", "rollout_lag", name):
        PPOConfig(max_steps=1, rollout_lag=1, **keys)


def test_other_lags_are_rejected():
    with raises("bad-value", "rollout_lag=2"):
        PPOConfig(max_steps=1, rollout_lag=2)
