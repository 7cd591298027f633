"""PPO with an engine that is not its own decoder: log-probs, weights, errors, corrections."""

import json

import pytest
import torch

from rlhf.rewards.spec import parse_rewards
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.setup import check_run
from tests.errors import raises
from tests.rollouts.fake_server import FakeServer
from tests.tiny_models import make_model
from tests.training.ppo.tiny_ppo import (
    DEFAULTS,
    make_folder,
    scored_of,
    settings,
    trainer,
    weights,
)

GAP = ("logprob_gap", "logprob_gap_max", "importance_weight", "effective_sample_size")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("engines"))


@pytest.fixture
def serve(folder):
    servers = []

    def make(**wrong):
        servers.append(FakeServer(folder / "policy", **wrong))
        return {"rollout_engine": "vllm", "rollout_server": servers[-1].address}

    yield make
    for server in servers:
        server.close()


def lines_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_run_on_a_server_follows_the_policy(folder, tmp_path, serve):
    """Three iterations: each samples from the newest weights, so both log-probs agree."""
    one = trainer(folder, tmp_path / "run", **serve())
    one.train()
    lines = lines_of(tmp_path / "run")
    for line in lines:
        assert line["logprob_gap_max"] < 1e-3
        assert line["importance_weight"] == pytest.approx(1, abs=1e-4)
        assert line["effective_sample_size"] == pytest.approx(1, abs=1e-4)
        assert line["first_ratio"] == pytest.approx(1, abs=1e-5)
        assert line["entropy"] > 0
    assert lines[-1]["kl"] > 0


def test_weights_are_sent_once_per_iteration(folder, tmp_path, serve):
    """Three iterations, the reference and the last policy for the samples: five versions."""
    keys = serve()
    one = trainer(folder, tmp_path / "run", **keys)
    server = one.sampler.engine.server
    assert server.model == "served"
    one.train()
    assert one.sampler.engine.version == 5


@pytest.mark.parametrize("mode", ["shared_trunk", "lora"])
def test_every_mode_sends_its_policy(folder, tmp_path, serve, mode):
    one = trainer(folder, tmp_path / "run", mode=mode, learning_rate=1e-2, **serve())
    one.train()
    assert max(line["logprob_gap_max"] for line in lines_of(tmp_path / "run")) < 1e-3


def test_transformers_engine_trains(folder, tmp_path):
    trainer(folder, tmp_path / "run", rollout_engine="transformers").train()
    assert max(line["logprob_gap_max"] for line in lines_of(tmp_path / "run")) < 1e-3


def test_recomputed_logprobs_of_the_native_engine_change_nothing(folder, tmp_path):
    one = trainer(folder, tmp_path / "one")
    two = trainer(folder, tmp_path / "two", recompute_logprobs="always")
    one.train(), two.train()
    for name, tensor in weights(one).items():
        torch.testing.assert_close(tensor, weights(two)[name], atol=1e-5, rtol=0)
    assert set(GAP) <= lines_of(tmp_path / "two")[0].keys()
    assert not set(GAP) & lines_of(tmp_path / "one")[0].keys()


def test_server_of_other_weights_ends_the_run(folder, tmp_path, serve):
    """It ignores new weights; the policy moves far in one step."""
    keys = serve(stale=True) | {"learning_rate": 0.5, "max_steps": 9}
    with raises("engine-mismatch", "step"):
        trainer(folder, tmp_path / "run", **keys).train()


def test_server_that_ignores_new_weights_ends_the_run_before_a_rollout(folder, tmp_path):
    """Its head is 100 times as large: 16 tokens show it, and no reward is asked for."""
    server = FakeServer(folder / "policy", deaf=True)
    with torch.no_grad():
        server.model.lm_head.weight.mul_(100)
    keys = {"rollout_engine": "vllm", "rollout_server": server.address}
    with raises("engine-mismatch", "before the first rollout", "nats per token"):
        trainer(folder, tmp_path / "run", **keys).train()
    server.close()
    assert server.asked.count("/v1/completions") == 1
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_server_of_another_vocabulary_ends_the_run_before_a_rollout(folder, tmp_path):
    """It reads the policy's control tokens as plain characters."""
    server = FakeServer(make_model(tmp_path / "other", "qwen2"))
    keys = {"rollout_engine": "vllm", "rollout_server": server.address}
    with raises("tokenizer-mismatch", server.address):
        trainer(folder, tmp_path / "run", **keys)
    server.close()
    assert "/v1/completions" not in server.asked


def checked(folder, tmp_path, address):
    """What is checked before a model loads, of a run with this rollout server."""
    made = settings(
        output_dir=str(tmp_path / "run"),
        model_name_or_path=str(folder / "policy"),
        reward=[f"{folder}/reward.py:vowels"],
        rollout_engine="vllm",
        rollout_server=address,
        **DEFAULTS,
    )
    rewards = parse_rewards(made.reward.reward)
    return check_run(made, rewards, world_size=1, prompts=["Where is the ball?"] * 4)


def test_unusable_server_ends_the_run_before_models_load(folder, tmp_path, serve):
    with raises("engine-lost", "rollout_server=http://127.0.0.1:9"):
        checked(folder, tmp_path, "http://127.0.0.1:9/")
    other = FakeServer(make_model(tmp_path / "other", "qwen2"))
    with raises("tokenizer-mismatch", other.address):
        checked(folder, tmp_path, other.address)
    other.close()
    assert checked(folder, tmp_path, serve()["rollout_server"]).world_size == 1


def test_lost_server_leaves_the_last_checkpoint(folder, tmp_path, serve):
    """A trial and four prompts an iteration: it is lost in the second one, after checkpoint-1."""
    keys = serve(die_after=6)
    one = trainer(folder, tmp_path / "run", **keys)
    with raises("engine-lost", keys["rollout_server"]):
        one.train()
    resumed = trainer(folder, tmp_path / "run", tmp_path / "run" / "checkpoint-1", **serve())
    assert resumed.progress.step == 1
    resumed.train()
    assert resumed.progress.step == 3


def test_weights_correct_for_another_temperature(folder, tmp_path, serve):
    """Sampled at 1.1, trained at 1.0: the mean weight of tokens is near 1, none is above the cap.

    The weights are exp(train - sampler), of tokens that the sampler drew.
    """
    keys = serve(temperature_error=0.1) | {"rollout_batch_size": 64, "importance_weight_cap": 1.01}
    rollouts = scored_of(trainer(folder, tmp_path, **keys)).rollouts
    mask = rollouts.response_mask
    expected = (rollouts.logprobs - rollouts.sampler_logprobs).exp().clamp(max=1.01)[mask]
    torch.testing.assert_close(rollouts.importance_weights[mask], expected)
    assert float(expected.max()) == pytest.approx(1.01)
    assert expected.mean() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("keys", "code", "name"),
    [
        ({"recompute_logprobs": "never", "importance_weight_cap": 2}, "key-conflict", "never"),
        ({"importance_correction": "mask"}, "key-conflict", "importance_correction"),
        ({"importance_weight_cap": 2, "importance_weight_floor": 0.5}, "key-conflict", "floor"),
        (
            {"importance_weight_cap": 2, "importance_correction": "mask",
             "importance_weight_floor": 1.5},
            "bad-value",
            "1.5",
        ),
        ({"rollout_engine": "transformers", "cuda_graphs": True}, "key-conflict", "cuda_graphs"),
        ({"rollout_sleep": True}, "key-conflict", "rollout_sleep"),
        (
            {"rollout_engine": "vllm", "rollout_server": "http://x", "rollout_sleep": True},
            "key-conflict",
            "rollout_sleep",
        ),
    ],
)  # fmt: skip
def test_keys_that_do_not_go_together(keys, code, name):
    with raises(code, name):
        PPOConfig(max_steps=1, **keys)


def test_default_cap_is_of_other_engines():
    assert PPOConfig(max_steps=1).weight_cap is None
    assert PPOConfig(max_steps=1, rollout_engine="transformers").weight_cap == 2
    assert not PPOConfig(max_steps=1).recomputes_logprobs
    assert PPOConfig(max_steps=1, importance_weight_cap=3).recomputes_logprobs
