import math

import pytest
import torch
from transformers import LlamaConfig

from rlhf.errors import ConfigError
from rlhf.models.memory import tokens_at_once
from rlhf.runtime.config import parse_config
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.validation import check_device, check_processes, check_sharding

GIVEN = {"model_name_or_path": "m", "train_data": "d", "reward": ["r"], "max_steps": 2}
GROUP = {"advantage": "rloo", "num_generations": 2}


def test_episodes_become_iterations_rounded_up():
    config = PPOConfig(**{**GIVEN, "max_steps": None}, total_episodes=300, rollout_batch_size=128)
    assert config.num_steps == 3
    assert (config.num_prompts, config.minibatch_size) == (128, 32)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"total_episodes": 5}, "both of total_episodes"),
        ({"max_steps": None}, "neither of total_episodes"),
        ({"num_minibatches": 5}, "does not split into num_minibatches=5"),
        ({"num_generations": 3}, "does not split into num_generations=3"),
        ({"reward": []}, "reward is missing"),
        ({"reward_uncertainty_coef": 1.0}, "means nothing with reward_aggregation=sum"),
        (
            {"reward_aggregation": "uncertainty", "reward_uncertainty_coef": 0.0},
            "reward_uncertainty_coef=0.0",
        ),
        ({"missing_eos_penalty": 1.0, "missing_eos_score": 0.0}, "set one of them"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"lam": 1.5}, "lam=1.5"),
        ({"kl_coef": -0.1}, "kl_coef=-0.1"),
        ({"kl_coef": math.nan}, "kl_coef=nan"),
        ({"vf_coef": math.inf}, "vf_coef=inf"),
        ({"learning_rate": math.nan}, "learning_rate=nan"),
        ({"dual_clip": math.nan}, "dual_clip=nan"),
        ({"max_steps": 0}, "max_steps=0; use 1 or more"),
        ({"max_steps": None, "total_episodes": 0}, "total_episodes=0; use 1 or more"),
        ({"dual_clip": 0.9}, "dual_clip=0.9"),
        # 0 divided by infinity is 0 in every logit; a step of it leaves no weight a number.
        ({"temperature": math.inf}, "temperature=inf; use a finite number"),
        ({"learning_rate": math.inf}, "learning_rate=inf; use a finite number"),
        ({"value_learning_rate": math.inf}, "value_learning_rate=inf"),
        ({"missing_eos_score": math.nan}, "missing_eos_score=nan; use a finite number"),
        # Subtracted, -1 would pay an answer for not ending.
        ({"missing_eos_penalty": -1.0}, "missing_eos_penalty=-1.0; use 0 or more"),
        ({"missing_eos_penalty": math.nan}, "missing_eos_penalty=nan; use 0 or more"),
        ({"mode": "lora", "lora_alpha": 0}, "lora_alpha=0; use 1 or more"),
        ({"save_steps": 0}, "save_steps=0"),
        ({"advantage": "rloo"}, "num_generations=1 gives one; use 2 or more"),
        ({"advantage": "grpo"}, "num_generations=1 gives one; use 2 or more"),
        ({"critic_warmup_steps": 2}, "critic_warmup_steps=2 of 2 iterations: the policy would not"),
        ({**GROUP, "critic_warmup_steps": 1}, "critic_warmup_steps=1 belongs to a critic"),
        ({**GROUP, "whiten_rewards": True}, "whiten_rewards=True belongs to a critic"),
        ({**GROUP, "value_model_path": "fresh"}, "value_model_path=fresh belongs to a critic"),
        ({**GROUP, "vf_coef": 0.5}, "vf_coef=0.5 belongs to a critic"),
        ({**GROUP, "value_clip_range": 1.0}, "value_clip_range=1.0 belongs to a critic"),
        ({**GROUP, "lam": 1.0}, "lam=1.0 belongs to a critic"),
        ({**GROUP, "gamma": 0.9}, "gamma=0.9"),
        ({**GROUP, "mode": "shared_trunk"}, "mode=shared_trunk shares a trunk with a critic"),
        ({**GROUP, "advantage": "grpo", "kl_estimator": "k1"}, "kl_estimator=k1 has no gradient"),
        ({"mode": "lora", "value_model_path": "reward"}, "value_model_path=reward: in mode=lora"),
        ({"mode": "lora", "gradient_checkpointing": True}, "with the critic's adapter"),
        ({"lora_target_modules": ["q_proj"]}, "lora_target_modules is set with mode=separate"),
        ({"mode": "shared_trunk", "lora_alpha": 16}, "lora_alpha is set with mode=shared_trunk"),
        ({"target_kl": 6.0, "kl_coef": 0.0}, "target_kl=6.0 with kl_coef=0"),
        ({"target_kl": 6.0, "rollout_batch_size": 500, "kl_horizon": 100}, "use more than 100"),
        ({"kl_horizon": 5000}, "kl_horizon=5000 is the pace .* target_kl, which is not set"),
        ({"best_kl": 5.0}, "best_kl=5.0 bounds what best/ keeps, and without eval_data"),
        ({"ptx_data": "texts.jsonl"}, "ptx_coef=None go together"),
        ({"ptx_coef": 0.1}, "ptx_data=None and"),
        ({"importance_weight_cap": 0.5}, "importance_weight_cap=0.5"),
    ],
)
def test_refused_in_words(changes, words):
    with pytest.raises(ConfigError, match=words):
        PPOConfig(**{**GIVEN, **changes})


def test_the_penalty_estimator_follows_from_where_the_penalty_stands():
    group = {**GIVEN, **GROUP}
    assert PPOConfig(**GIVEN).penalty_estimator == "k1"
    assert PPOConfig(**group).penalty_estimator == "k1"
    assert PPOConfig(**{**group, "advantage": "grpo"}).penalty_estimator == "k3"
    assert PPOConfig(**{**group, "kl_estimator": "k2"}).penalty_estimator == "k2"


def test_choices_are_read_from_the_command_line():
    words = "--model_name_or_path m --train_data d --reward r --max_steps 2 --num_generations 4"
    more = "--advantage grpo --kl_estimator k2 --mode lora --on_reward_error skip --best_kl 5"
    more += " --eval_data e"
    (config,) = parse_config(PPOConfig, description=None, argv=f"{words} {more}".split())
    assert (config.advantage, config.kl_estimator, config.mode) == ("grpo", "k2", "lora")
    assert (config.on_reward_error, config.best_kl) == ("skip", 5.0)
    with pytest.raises(ConfigError, match="invalid choice: 'a2c'"):
        parse_config(PPOConfig, description=None, argv=[*words.split(), "--advantage", "a2c"])


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("num_train_epochs", "here total_episodes is what to set. Responses in all"),
        ("per_device_train_batch_size", "here rollout_batch_size is what to set. Responses per"),
        ("gradient_accumulation_steps", "here max_tokens_per_microbatch is what to set. Prompt"),
        ("use_peft", "here mode is what to set. separate models;.*lora"),
        ("load_in_4bit", "here mode is what to set"),
        ("max_length", "here max_prompt_length is what to set"),
    ],
)
def test_a_key_of_the_other_recipes_names_the_one_that_stands_for_it(key, said):
    """The nearest by its letters would be another thing: num_ppo_epochs for num_train_epochs."""
    words = f"--model_name_or_path m --train_data d --reward r --max_steps 2 --{key} 1"
    with pytest.raises(ConfigError, match=f"unknown key '{key}'; {said}"):
        parse_config(PPOConfig, description=None, argv=words.split())


def test_skipped_answers_leave_each_process_a_row():
    """200 answers, 100 minibatches of 2: with 2 of them left out some minibatch has 1."""
    options = {**GIVEN, "rollout_batch_size": 200, "num_minibatches": 100}
    check_processes(PPOConfig(**options), num_held_out=9, num_processes=2)
    with pytest.raises(ConfigError, match="1 responses per minibatch"):
        check_processes(
            PPOConfig(**options, on_reward_error="skip"), num_held_out=9, num_processes=2
        )


def test_a_key_for_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="cuda_graphs=true needs a CUDA GPU"):
        check_device(PPOConfig(**GIVEN, cuda_graphs=True))


def test_a_mode_that_the_engine_would_not_shard_is_refused():
    lora = PPOConfig(**GIVEN, mode="lora")
    with pytest.raises(ConfigError, match="mode=lora holds its one backbone whole"):
        check_sharding(lora, sharded=True)
    check_sharding(lora, sharded=False)
    check_sharding(PPOConfig(**GIVEN), sharded=True)


@pytest.mark.parametrize("tokens", [0, -1])
def test_microbatches_hold_a_token_at_least(tokens):
    assert PPOConfig(**GIVEN, max_tokens_per_microbatch=7).microbatch_tokens == 7
    with pytest.raises(ConfigError, match=f"max_tokens_per_microbatch={tokens}; use 1 or more"):
        PPOConfig(**GIVEN, max_tokens_per_microbatch=tokens)


@pytest.mark.parametrize(
    ("layers", "hidden", "inner", "vocabulary", "tokens"),
    [
        # Numbers a token: layers * (8 hidden + 3 inner) + vocabulary; 2**25 of them are kept.
        (4, 192, 512, 1024, 2048),  # 13,312: 2,520 would fit
        (8, 384, 1024, 4096, 512),  # 53,248: 630
        (6, 288, 768, 32000, 512),  # 59,648: 562
        (1, 8, 16, 64, 4096),  # 176: 190,650, more than is of use
        (24, 896, 4864, 151936, 512),  # 674,176: 49, less than products want
    ],
)
def test_microbatches_fit_the_model_where_nobody_says(
    layers, hidden, inner, vocabulary, tokens, tmp_path, monkeypatch
):
    LlamaConfig(
        num_hidden_layers=layers,
        hidden_size=hidden,
        intermediate_size=inner,
        vocab_size=vocabulary,
        num_attention_heads=4,
    ).save_pretrained(tmp_path)
    config = PPOConfig(**{**GIVEN, "model_name_or_path": str(tmp_path)})
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert config.microbatch_tokens == tokens
    tokens_at_once.cache_clear()
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert config.microbatch_tokens == 4096
    tokens_at_once.cache_clear()


def test_compile_is_refused_where_it_would_fail_or_do_nothing(monkeypatch):
    """On a CPU there has to be a C++ compiler; FSDP and recomputed layers were not made for it."""
    compiled = PPOConfig(**GIVEN, compile=True)
    with pytest.raises(ConfigError, match="compile=true was not made for weights in shares"):
        check_sharding(compiled, sharded=True)
    with pytest.raises(ConfigError, match="compile=true with gradient_checkpointing"):
        PPOConfig(**GIVEN, compile=True, gradient_checkpointing=True)
    if not torch.accelerator.is_available():
        monkeypatch.setenv("CXX", "/nowhere/g++")
        with pytest.raises(ConfigError, match=r"compile=true needs a C\+\+ compiler \(/nowhere/"):
            check_device(compiled)
        monkeypatch.setenv("CXX", "true")  # a program that is there
        check_device(compiled)
