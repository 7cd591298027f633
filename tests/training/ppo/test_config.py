import math

import pytest
import torch
from transformers import LlamaConfig

from rlhf.runtime.config import parse_config
from rlhf.training.ppo.compute import resolve_compute
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.settings import PPO_CLASSES, settings_of
from rlhf.training.ppo.validation import check_device, check_processes, check_sharding
from tests.errors import raises
from tests.training.ppo.tiny_ppo import settings

KEYS = {
    "output_dir": "run",
    "model_name_or_path": "m",
    "train_data": "d",
    "reward": ["r"],
    "max_steps": 2,
}
WORDS = "--output_dir run --model_name_or_path m --train_data d --reward r --max_steps 2".split()
CPU = torch.device("cpu")
GROUP = {"advantage": "rloo", "num_generations": 2}


def test_total_episodes_are_rounded_up_to_iterations():
    config = PPOConfig(total_episodes=300, rollout_batch_size=128)
    assert config.num_steps == 3
    assert (config.num_prompts, config.minibatch_size) == (128, 32)


@pytest.mark.parametrize(
    ("changes", "code", "name"),
    [
        ({"total_episodes": 5}, "key-conflict", "total_episodes"),
        ({"max_steps": None}, "missing-key", "max_steps"),
        ({"num_minibatches": 5}, "key-conflict", "num_minibatches=5"),
        ({"num_minibatches": 0}, "bad-value", "num_minibatches=0"),
        ({"num_generations": 3}, "key-conflict", "num_generations=3"),
        ({"reward_uncertainty_coef": 1.0}, "key-conflict", "reward_uncertainty_coef=1.0"),
        (
            {"reward_aggregation": "uncertainty", "reward_uncertainty_coef": 0.0},
            "bad-value",
            "reward_uncertainty_coef=0.0",
        ),
        (
            {"missing_eos_penalty": 1.0, "missing_eos_score": 0.0},
            "key-conflict",
            "missing_eos_score",
        ),
        ({"temperature": 0.0}, "bad-value", "temperature=0.0"),
        ({"lam": 1.5}, "bad-value", "lam=1.5"),
        ({"kl_coef": -0.1}, "bad-value", "kl_coef=-0.1"),
        ({"kl_coef": math.nan}, "bad-value", "kl_coef=nan"),
        ({"vf_coef": math.inf}, "bad-value", "vf_coef=inf"),
        ({"learning_rate": math.nan}, "bad-value", "learning_rate=nan"),
        ({"dual_clip": math.nan}, "bad-value", "dual_clip=nan"),
        ({"max_steps": 0}, "bad-value", "max_steps=0"),
        ({"max_steps": None, "total_episodes": 0}, "bad-value", "total_episodes=0"),
        ({"dual_clip": 0.9}, "bad-value", "dual_clip=0.9"),
        ({"temperature": math.inf}, "bad-value", "temperature=inf"),
        ({"learning_rate": math.inf}, "bad-value", "learning_rate=inf"),
        ({"value_learning_rate": math.inf}, "bad-value", "value_learning_rate=inf"),
        ({"missing_eos_score": math.nan}, "bad-value", "missing_eos_score=nan"),
        ({"missing_eos_penalty": -1.0}, "bad-value", "missing_eos_penalty=-1.0"),
        ({"missing_eos_penalty": math.nan}, "bad-value", "missing_eos_penalty=nan"),
        ({"mode": "lora", "lora_alpha": 0}, "bad-value", "lora_alpha=0"),
        ({"save_steps": 0}, "bad-value", "save_steps=0"),
        ({"advantage": "rloo"}, "key-conflict", "advantage=rloo"),
        ({"advantage": "grpo"}, "key-conflict", "advantage=grpo"),
        ({"critic_warmup_steps": 2}, "key-conflict", "critic_warmup_steps=2"),
        ({**GROUP, "critic_warmup_steps": 1}, "key-conflict", "critic_warmup_steps=1"),
        ({**GROUP, "whiten_rewards": True}, "key-conflict", "whiten_rewards=True"),
        ({**GROUP, "value_model_path": "fresh"}, "key-conflict", "value_model_path=fresh"),
        ({**GROUP, "vf_coef": 0.5}, "key-conflict", "vf_coef=0.5"),
        ({**GROUP, "value_clip_range": 1.0}, "key-conflict", "value_clip_range=1.0"),
        ({**GROUP, "lam": 1.0}, "key-conflict", "lam=1.0"),
        ({**GROUP, "gamma": 0.9}, "key-conflict", "gamma=0.9"),
        ({**GROUP, "mode": "shared_trunk"}, "key-conflict", "mode=shared_trunk"),
        ({**GROUP, "advantage": "grpo", "kl_estimator": "k1"}, "key-conflict", "kl_estimator=k1"),
        ({"kl_in": "loss", "kl_estimator": "k1"}, "key-conflict", "kl_estimator=k1"),
        ({"advantage": "dr_grpo"}, "key-conflict", "advantage=dr_grpo"),
        ({"advantage": "reinforce++_baseline"}, "key-conflict", "num_generations=1"),
        ({"advantage": "remax", "gamma": 0.9}, "key-conflict", "gamma=0.9"),
        ({"advantage": "reinforce++", "lam": 0.9}, "key-conflict", "lam=0.9"),
        ({"dynamic_sampling": 3}, "key-conflict", "dynamic_sampling=3"),
        ({"advantage": "remax", "dynamic_sampling": 3}, "key-conflict", "advantage=remax"),
        ({**GROUP, "dynamic_sampling": -1}, "bad-value", "dynamic_sampling=-1"),
        ({"surrogate": "cispo"}, "missing-key", "clip_range_high"),
        (
            {"surrogate": "cispo", "clip_range_high": 4.0, "clip_range": 0.1},
            "key-conflict",
            "clip_range=0.1",
        ),
        (
            {"surrogate": "cispo", "clip_range_high": 4.0, "dual_clip": 3.0},
            "key-conflict",
            "dual_clip=3.0",
        ),
        (
            {"surrogate": "cispo", "clip_range_high": 4.0, "importance_level": "sequence"},
            "key-conflict",
            "importance_level=sequence",
        ),
        ({"clip_range_high": 0.0}, "bad-value", "clip_range_high=0.0"),
        ({"entropy_coef": -0.1}, "bad-value", "entropy_coef=-0.1"),
        ({"entropy_coef": math.inf}, "bad-value", "entropy_coef=inf"),
        (
            {"mask_truncated": True, "missing_eos_penalty": 1.0},
            "key-conflict",
            "missing_eos_penalty",
        ),
        ({"overlong_penalty": 2.0}, "key-conflict", "overlong_buffer"),
        ({"overlong_buffer": 0}, "bad-value", "overlong_buffer=0"),
        ({"overlong_buffer": 129}, "key-conflict", "overlong_buffer=129"),
        ({"mode": "lora", "value_model_path": "reward"}, "key-conflict", "value_model_path=reward"),
        (
            {"mode": "lora", "gradient_checkpointing": True},
            "key-conflict",
            "gradient_checkpointing",
        ),
        ({"lora_target_modules": ["q_proj"]}, "key-conflict", "lora_target_modules"),
        ({"mode": "shared_trunk", "lora_alpha": 16}, "key-conflict", "lora_alpha"),
        ({"load_in_4bit": True}, "key-conflict", "load_in_4bit"),
        ({"use_dora": True}, "key-conflict", "use_dora"),
        ({"target_kl": 6.0, "kl_coef": 0.0}, "key-conflict", "kl_coef"),
        (
            {"target_kl": 6.0, "rollout_batch_size": 500, "kl_horizon": 100},
            "key-conflict",
            "kl_horizon=100",
        ),
        ({"kl_horizon": 5000}, "key-conflict", "kl_horizon=5000"),
        ({"best_kl": 5.0}, "key-conflict", "best_kl=5.0"),
        ({"ptx_data": "texts.jsonl"}, "key-conflict", "ptx_data=texts.jsonl"),
        ({"ptx_coef": 0.1}, "key-conflict", "ptx_coef=0.1"),
        ({"importance_weight_cap": 0.5}, "bad-value", "importance_weight_cap=0.5"),
    ],
)
def test_unusable_keys_raise_and_are_named(changes, code, name):
    with raises(code, name):
        settings(**{**KEYS, **changes})


def test_penalty_estimator_depends_on_where_the_penalty_is():
    assert PPOConfig(max_steps=2).penalty_estimator == "k1"
    assert PPOConfig(max_steps=2, **GROUP).penalty_estimator == "k1"
    grpo = {**GROUP, "advantage": "grpo"}
    assert PPOConfig(max_steps=2, **grpo).penalty_estimator == "k2"
    assert PPOConfig(max_steps=2, **grpo, kl_in="rewards").penalty_estimator == "k1"
    assert PPOConfig(max_steps=2, kl_in="loss").penalty_estimator == "k2"
    assert PPOConfig(max_steps=2, **GROUP, kl_estimator="k2").penalty_estimator == "k2"


@pytest.mark.parametrize(
    "changes",
    [
        {"advantage": "reinforce++", "gamma": 0.99},
        {"advantage": "remax"},
        {**GROUP, "advantage": "dr_grpo", "loss_type": "dr_grpo", "dynamic_sampling": 2},
        {"surrogate": "cispo", "clip_range_high": 4.0, "kl_in": "loss"},
        {"mask_truncated": True, "overlong_buffer": 128, "overlong_penalty": 0.5},
    ],
)
def test_methods_combine(changes):
    config = PPOConfig(max_steps=2, **changes)
    assert config.has_critic == ("advantage" not in changes)
    assert config.compares_groups == (changes.get("advantage") == "dr_grpo")


def test_choices_are_read_from_the_command_line():
    words = "--num_generations 4 --advantage grpo --kl_estimator k2 --mode lora --best_kl 5"
    more = "--on_reward_error skip --eval_data e"
    argv = [*WORDS, *words.split(), *more.split()]
    made = settings_of(parse_config(*PPO_CLASSES, description=None, argv=argv))
    config = made.ppo
    assert (config.advantage, config.kl_estimator, config.mode) == ("grpo", "k2", "lora")
    assert (made.reward.on_reward_error, config.best_kl) == ("skip", 5.0)
    for name in ("top_p", "top_k", "min_p"):
        with raises("unsupported", name, "temperature"):
            parse_config(*PPO_CLASSES, description=None, argv=[*WORDS, f"--{name}", "0.9"])
    with raises("bad-value", "advantage", "a2c"):
        parse_config(*PPO_CLASSES, description=None, argv=[*WORDS, "--advantage", "a2c"])


@pytest.mark.parametrize(
    ("key", "instead"),
    [
        ("num_train_epochs", "total_episodes"),
        ("per_device_train_batch_size", "rollout_batch_size"),
        ("gradient_accumulation_steps", "max_tokens_per_microbatch"),
        ("use_peft", "mode"),
        ("max_length", "max_prompt_length"),
    ],
)
def test_key_of_another_recipe_names_the_key_to_set_instead(key, instead):
    """The nearest spelling would mislead: num_ppo_epochs for num_train_epochs."""
    with raises("unknown-key", key, f" {instead} "):
        parse_config(*PPO_CLASSES, description=None, argv=[*WORDS, f"--{key}", "1"])


def test_skipped_responses_leave_each_process_a_row():
    """200 responses, 100 minibatches of 2: with 2 of them left out some minibatch has 1."""
    keys = {**KEYS, "rollout_batch_size": 200, "num_minibatches": 100}
    check_processes(settings(**keys), num_held_out=9, num_processes=2)
    with raises("bad-launch", "num_minibatches"):
        check_processes(settings(**keys, on_reward_error="skip"), num_held_out=9, num_processes=2)


@pytest.mark.parametrize(
    "keys", [{"cuda_graphs": True}, {"rollout_engine": "vllm", "rollout_sleep": True}], ids=str
)
def test_keys_that_need_a_gpu_raise_without_one(keys, monkeypatch):
    config = PPOConfig(max_steps=2, **keys)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with raises("unsupported", f"{list(keys)[-1]}=true", "GPU"):
        check_device(config)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    check_device(config)


def test_mode_lora_with_sharded_weights_raises():
    lora = PPOConfig(max_steps=2, mode="lora")
    with raises("unsupported", "mode=lora"):
        check_sharding(lora, sharded=True)
    check_sharding(lora, sharded=False)
    check_sharding(PPOConfig(max_steps=2), sharded=True)


@pytest.mark.parametrize("tokens", [0, -1])
def test_microbatch_tokens_are_at_least_one(tokens):
    made = settings(**KEYS, max_tokens_per_microbatch=7)
    assert resolve_compute(made.ppo, made.model, CPU).microbatch_tokens == 7
    with raises("bad-value", f"max_tokens_per_microbatch={tokens}"):
        PPOConfig(max_steps=2, max_tokens_per_microbatch=tokens)


@pytest.mark.parametrize(
    ("layers", "hidden", "inner", "vocabulary", "tokens"),
    [
        # Numbers a token: layers * (8 hidden + 3 inner) + vocabulary; 2**25 of them are stored.
        (4, 192, 512, 1024, 2048),  # 13,312: 2,520 would fit
        (8, 384, 1024, 4096, 1024),  # 53,248: 630, less than products want
        (6, 288, 768, 32000, 1024),  # 59,648: 562
        (1, 8, 16, 64, 4096),  # 176: 190,650, more than is of use
        (24, 896, 4864, 151936, 1024),  # 674,176: 49
    ],
)
def test_default_microbatch_fits_the_model(
    layers, hidden, inner, vocabulary, tokens, tmp_path, monkeypatch
):
    LlamaConfig(
        num_hidden_layers=layers,
        hidden_size=hidden,
        intermediate_size=inner,
        vocab_size=vocabulary,
        num_attention_heads=4,
    ).save_pretrained(tmp_path)
    made = settings(**{**KEYS, "model_name_or_path": str(tmp_path)})
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert resolve_compute(made.ppo, made.model, CPU).microbatch_tokens == tokens
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert resolve_compute(made.ppo, made.model, CPU).microbatch_tokens == 4096


def test_compile_raises_where_it_would_fail_or_have_no_effect(monkeypatch):
    """On a CPU there has to be a C++ compiler; FSDP and recomputed layers were not made for it."""
    compiled = PPOConfig(max_steps=2, compile=True)
    with raises("unsupported", "compile=true"):
        check_sharding(compiled, sharded=True)
    with raises("key-conflict", "compile", "gradient_checkpointing"):
        settings(**KEYS, compile=True, gradient_checkpointing=True)
    if not torch.accelerator.is_available():
        monkeypatch.setenv("CXX", "/nowhere/g++")
        with raises("missing-package", "/nowhere/"):
            check_device(compiled)
        monkeypatch.setenv("CXX", "true")  # a program that is there
        check_device(compiled)
