"""PPO on episodes of several turns: what is trained on, engines, errors, and that it learns."""

import json
from dataclasses import replace

import pytest
import torch

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.rewards.config import RewardConfig
from rlhf.rollouts.environment import parse_environment
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.environment import check_environment
from rlhf.training.ppo.loss import policy_terms, value_terms
from rlhf.training.ppo.trainer import PPOTrainer
from rlhf.types import PromptRow
from tests.errors import raises
from tests.rollouts.fake_server import FakeServer
from tests.training.ppo.guess_world import BLIND, ROWS, Guess, make_world
from tests.training.ppo.tiny_ppo import (
    experience_from,
    experience_of,
    scored_of,
    trainer,
    update,
    weights,
)

LENGTHS = {"rows": ROWS, "max_completion_length": 24, "max_turns": 3}
REWARD = """
def ones(prompts, completions):
    return [text.split().count("1") / 4 for text in completions]
"""


class Ones:
    """Rewards each `1` of a turn, and asks again until the third one."""

    def reset(self, prompt, seed):
        self.turns, self.seed = 0, seed

    def step(self, messages):
        self.turns += 1
        reward = messages[-1]["content"].split().count("1") / 4
        return ("lower", "higher")[self.seed % 2], reward, self.turns == 3


class Once(Ones):
    """Ends after the first turn."""

    def step(self, messages):
        _, reward, _ = super().step(messages)
        return [], reward, True


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An untrained policy, which ends a turn after about ten of its ten symbols."""
    folder = make_world(tmp_path_factory.mktemp("environment"), seed=0)
    (folder / "reward.py").write_text(REWARD)
    return folder


@pytest.fixture(scope="module")
def one(folder, tmp_path_factory):
    """A trainer of episodes, and its scored rollouts of the first iteration."""
    made = trainer(folder, tmp_path_factory.mktemp("run"), environment=Ones, **LENGTHS)
    return made, scored_of(made)


def test_rollouts_mask_the_environment_out(one):
    """Numbers of its tokens are 0; every turn begins where a message of it ends."""
    rollouts = one[1].rollouts
    actions, responses = rollouts.action_mask, rollouts.response_mask
    given = responses & ~actions
    assert given.any(1).any()
    assert not (actions & ~responses).any()
    for numbers in (rollouts.logprobs, rollouts.entropies, one[1].ref_logprobs, one[1].values):
        assert (numbers[~actions] == 0).all()
        assert (numbers[actions] != 0).all()
    starts = (actions[:, 1:] & ~actions[:, :-1]).sum(1) + 1
    assert starts.tolist() == rollouts.episodes.num_turns.tolist()
    assert (rollouts.episodes.rewards[~actions] == 0).all()


def test_score_is_the_sum_of_the_turns(one):
    scored = one[1]
    total = scored.rollouts.episodes.rewards.sum(1)
    torch.testing.assert_close(scored.scores.scores, total)
    torch.testing.assert_close(scored.scores.breakdown["environment"], total)
    rewards = experience_from(one[0], scored).rewards
    torch.testing.assert_close(rewards, scored.rollouts.episodes.rewards, atol=1e-5, rtol=0)


def test_losses_ignore_what_the_model_did_not_write(one):
    """Any numbers of the environment's tokens: the same losses, and no gradient there."""
    batch = experience_from(*one).select(slice(None))
    config, actions = one[0].config, batch.action_mask
    for terms, old in ((policy_terms, batch.logprobs), (value_terms, batch.values)):
        new = old.clone().requires_grad_()
        arguments = (0.1,) if terms is policy_terms else ()
        loss = terms(batch, new, config, *arguments)[0]
        loss.backward()
        assert (new.grad[~actions] == 0).all()
        other = torch.where(actions, old, 7.0)
        torch.testing.assert_close(terms(batch, other, config, *arguments)[0], loss.detach())


def test_first_update_starts_at_the_sampling_policy(folder, tmp_path):
    """Ratio 1, KL 0, from the log-probs of decoding turn by turn."""
    made = trainer(folder, tmp_path, environment=Ones, **LENGTHS)
    metrics = update(made, experience_of(made))
    assert metrics["first_ratio"] == pytest.approx(1, abs=1e-5)
    assert metrics["first_approx_kl"] < 1e-6
    assert metrics["first_clip_fraction"] == 0


def test_environment_of_one_turn_changes_nothing(folder, tmp_path):
    """Without a second turn the responses, and all weights after training, are those without it.

    Three prompts an iteration, all different: equal ones are read together in an environment.
    """
    rows = [PromptRow(prompt=prompt) for prompt in ("guess", "guess again", "guess lower again")]
    keys = {"rows": rows, "rollout_batch_size": 6, "max_completion_length": 24}
    plain = trainer(folder, tmp_path / "plain", reward=[f"{folder}/reward.py:ones"], **keys)
    played = trainer(folder, tmp_path / "played", environment=Once, **keys)
    plain.train(), played.train()
    for name, tensor in weights(plain).items():
        assert torch.equal(tensor, weights(played)[name]), name


def test_resumed_run_plays_the_same_episodes(folder, tmp_path):
    """Three iterations at once equal one and then two; environments get the same seeds."""
    whole = trainer(folder, tmp_path / "whole", environment=Ones, **LENGTHS)
    whole.train()
    checkpoint = tmp_path / "whole" / "checkpoint-1"
    resumed = trainer(folder, tmp_path / "resumed", checkpoint, environment=Ones, **LENGTHS)
    resumed.train()
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(resumed)[name]), name
    with raises("other-run", "max_turns"):
        trainer(
            folder, tmp_path / "other", checkpoint, environment=Ones, **(LENGTHS | {"max_turns": 2})
        )


def test_metrics_and_samples_of_episodes(folder, tmp_path):
    made = trainer(folder, tmp_path, environment=Ones, max_steps=1, **LENGTHS)
    made.train()
    made.save()
    line = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert 1 <= line["turns"] <= 3
    assert line["environment_tokens"] > 0
    assert line["tool_calls"] == 0
    assert line["kl"] == pytest.approx(0, abs=1e-4)
    tokens = json.loads((tmp_path / "samples" / "tokens.jsonl").read_text().splitlines()[0])
    assert len(tokens["action_mask"]) == len(tokens["tokens"])
    samples = (tmp_path / "samples" / "random.jsonl").read_text()
    assert "[user]\\nhigher" in samples or "[user]\\nlower" in samples


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param({"rollout_engine": "transformers"}, marks=pytest.mark.slow),
        {"rollout_engine": "vllm"},
        {"advantage": "remax"},
        {"advantage": "grpo", "dynamic_sampling": 1, "mode": "lora"},
        {"advantage": "reinforce++", "gamma": 0.9},
    ],
)
def test_engines_and_estimators_train_on_episodes(folder, tmp_path, keys):
    """The engine's log-probs of every turn are the policy's."""
    server = FakeServer(folder / "policy") if keys.get("rollout_engine") == "vllm" else None
    if server is not None:
        keys = keys | {"rollout_server": server.address}
    made = trainer(folder, tmp_path, environment=Ones, max_steps=2, **LENGTHS, **keys)
    made.train()
    if server is not None:
        server.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["turns"] > 1
    assert max(line.get("logprob_gap_max", 0) for line in lines) < 1e-3
    assert lines[0]["first_ratio"] == pytest.approx(1, abs=1e-4)


def test_other_rewards_score_the_last_turn(folder, tmp_path):
    """A function sees the conversation before the last turn, and that turn."""
    (folder / "seen.py").write_text(
        "SEEN = []\n"
        "def seen(prompts, completions):\n"
        "    SEEN.extend(zip(prompts, completions))\n"
        "    return [10.0] * len(prompts)\n"
    )
    made = trainer(
        folder, tmp_path, environment=Ones, reward=[f"0.5*{folder}/seen.py:seen"], **LENGTHS
    )
    scored = scored_of(made)
    seen = made.reward.sources[0].scorer.__globals__["SEEN"]
    for (prompt, completion), turns in zip(
        seen, scored.rollouts.episodes.num_turns.tolist(), strict=True
    ):
        assert [message["role"] for message in prompt] == ["user", "assistant"] * (turns - 1) + [
            "user"
        ]
        assert completion[0]["role"] == "assistant"
    given = scored.scores.breakdown["environment"]
    torch.testing.assert_close(scored.scores.scores, given + 5.0)


def test_failed_step_is_left_out_if_asked_for(folder, tmp_path):
    class Fails(Ones):
        def step(self, messages):
            if self.seed % 4 == 0:
                raise OSError("no answer")
            return super().step(messages)

    keys = {"environment": Fails, "rollout_batch_size": 64, "num_generations": 1, **LENGTHS}
    made = trainer(folder, tmp_path / "skip", on_reward_error="skip", **keys)
    batch = made.sampler.next_prompts(1)
    rollouts = made.sampler.roll_out(made.models.policy, batch, 1)
    failed = [bool(failure) for failure in rollouts.episodes.failures]
    scored = made.sampler.score(rollouts, 1, most_skipped=0.9)
    assert 0 < sum(failed) < len(failed)
    assert len(scored.rollouts.texts) == len(failed) - sum(failed)
    made = trainer(folder, tmp_path / "stop", **keys)
    with raises("no-reward", "Fails", "no answer"):
        scored_of(made)


@pytest.mark.parametrize(
    ("keys", "code", "name"),
    [
        ({"rollout_lag": 1}, "key-conflict", "environment"),
        ({"rollout_engine": "vllm", "rollout_sleep": True}, "key-conflict", "rollout_sleep"),
        ({"max_turns": 0}, "bad-value", "max_turns"),
    ],
)
def test_keys_that_do_not_go_with_an_environment(keys, code, name):
    with raises(code, name):
        PPOConfig(max_steps=1, environment="a.py:B", **keys)


def test_template_and_rows_are_checked_before_a_rollout(folder):
    chat, spec = load_tokenizer(str(folder / "policy")), parse_environment(Ones)
    rows = [PromptRow(prompt="guess")]
    check_environment(spec, chat, rows, max_prompt_length=64)
    with raises("unsupported", "chat_template"):
        check_environment(spec, replace(chat, template_source="none"), rows, max_prompt_length=64)
    with raises("bad-environment", "number"):
        check_environment(parse_environment(Guess), chat, rows, max_prompt_length=64)
    tool = {"type": "function", "function": {"name": "look", "parameters": {}}}
    with raises("unsupported", "tools"):
        check_environment(replace(spec, tools=[tool]), chat, rows, max_prompt_length=64)


def test_class_is_an_argument_of_the_trainer(folder):
    """No other reward is needed; two environments are one too many."""
    config = PPOConfig(max_steps=1, rollout_batch_size=4, num_minibatches=1)
    prompts = ["guess"] * 4
    made = PPOTrainer(
        str(folder / "policy"), prompts, config=replace(config, max_completion_length=8),
        environment=Once,
    )  # fmt: skip
    assert made.config.environment == "Once"
    assert made.reward.sources == ()
    with raises("key-conflict", "environment"):
        PPOTrainer(
            str(folder / "policy"), prompts, environment=Once,
            config=replace(config, environment="a.py:B"),
        )  # fmt: skip
    with raises("bad-reward", "reward"):
        PPOTrainer(str(folder / "policy"), prompts, config=config)
    with raises("key-conflict", "normalize_reward"):
        PPOTrainer(
            str(folder / "policy"), prompts, config=config, environment=Once,
            reward_config=RewardConfig(normalize_reward="mean"),
        )  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("seed", range(2))
def test_policy_learns_to_follow_the_hint(tmp_path, seed):
    """From random weights to (nearly) the optimum of 1, which needs the environment's messages.

    Without the entropy bonus a run may stay at two different guesses, without the hint.
    """
    folder = make_world(tmp_path, seed=seed)
    made = trainer(
        folder, tmp_path / "run", seed=seed, rows=ROWS, environment=Guess, max_steps=120,
        rollout_batch_size=96, num_minibatches=2, num_ppo_epochs=2, max_completion_length=8,
        max_turns=2, learning_rate=3e-3, kl_coef=0.0, save_steps=120, num_generations=1,
        entropy_coef=0.02,
    )  # fmt: skip
    made.train()
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    reached = sum(line["score"] for line in lines[-10:]) / 10
    assert lines[0]["score"] < BLIND
    assert reached > 0.95
