"""What PPO's keys may be, one by one and together, checked before anything is loaded."""

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch

from rlhf.errors import ConfigError
from rlhf.models.compiled import missing_compiler
from rlhf.training.ppo.kl_controller import MOST_ERROR

AT_LEAST_ONE = (
    "num_ppo_epochs", "max_prompt_length", "max_completion_length", "save_steps",
    "save_total_limit", "eval_steps", "logging_steps", "num_eval_prompts", "kl_horizon",
    "max_tokens_per_microbatch", "rollout_batch_size", "lora_r", "lora_alpha", "max_steps",
    "total_episodes",
)  # fmt: skip
ABOVE_ZERO = (
    "temperature", "clip_range", "value_clip_range", "max_grad_norm", "learning_rate",
    "value_learning_rate", "reward_clip", "target_kl", "kl_budget", "best_kl", "ptx_coef",
    "reward_uncertainty_coef",
)  # fmt: skip
# Infinite limits limit nothing and infinite horizons are far; infinite steps or weights are NaN.
FINITE = (
    "temperature", "learning_rate", "value_learning_rate", "kl_coef", "vf_coef", "ptx_coef",
    "reward_uncertainty_coef", "missing_eos_penalty", "missing_eos_score",
)  # fmt: skip
# Keys that only a critic reads, and those that only LoRA does.
OF_THE_CRITIC = (
    "value_model_path", "value_learning_rate", "critic_warmup_steps", "whiten_rewards",
    "vf_coef", "value_clip_range", "lam",
)  # fmt: skip
OF_LORA = ("lora_r", "lora_alpha", "lora_target_modules")


def check_config(config: Any) -> None:
    """Refuse a `PPOConfig` that cannot be run, or that sets a key which would be ignored.

    Raises:
        ConfigError: the key, its value, why, and what to do.
    """
    _check_length_of_run(config)
    _check_batches(config)
    _check_ranges(config)
    _check_kl(config)
    _check_rewards(config)
    _check_advantage(config)
    _check_mode(config)
    if (config.ptx_data is None) != (config.ptx_coef is None):
        raise ConfigError(
            f"ptx_data={config.ptx_data} and ptx_coef={config.ptx_coef} go together; "
            "set both (start with a ptx_coef near 0.1) or neither."
        )


def check_device(config: Any) -> None:
    """Refuse a key that this machine has no device or no compiler for.

    Raises:
        ConfigError: the key.
    """
    if config.cuda_graphs and not torch.cuda.is_available():
        raise ConfigError("cuda_graphs=true needs a CUDA GPU and none is here; leave it out.")
    if config.compile and (missing := missing_compiler()):
        raise ConfigError(f"compile=true needs {missing}, which is not here; leave it out.")


def check_sharding(config: Any, *, sharded: bool) -> None:
    """Refuse what this engine would not do with weights in shares.

    Raises:
        ConfigError: what was asked for, and what to launch with instead.
    """
    if sharded and config.compile:
        raise ConfigError(
            "compile=true was not made for weights in shares (FSDP); leave it out, or launch with "
            "recipes/accelerate/ddp.yaml."
        )
    if sharded and config.mode == "lora":
        raise ConfigError(
            "the launch configuration asks for FSDP, and mode=lora holds its one backbone whole on "
            "every process; launch with recipes/accelerate/ddp.yaml."
        )


def check_processes(config: Any, num_held_out: int, num_processes: int) -> None:
    """Refuse more processes than there are rows for in any part of the run.

    Raises:
        ConfigError: which rows are too few.
    """
    # Where answers may be skipped a minibatch can be short of its share of them.
    skipped = config.rollout_batch_size // 100 if config.on_reward_error == "skip" else 0
    per_minibatch = (config.rollout_batch_size - skipped) // config.num_minibatches
    for name, count in (
        ("prompts per iteration (rollout_batch_size / num_generations)", config.num_prompts),
        ("responses per minibatch (rollout_batch_size / num_minibatches)", per_minibatch),
        ("held-out prompts (eval_data, num_eval_prompts)", num_held_out),
    ):
        if count < num_processes:
            raise ConfigError(
                f"{count} {name} do not give {num_processes} processes one each; "
                "raise it or launch fewer processes."
            )


def _check_length_of_run(config: Any) -> None:
    if (config.total_episodes is None) == (config.max_steps is None):
        given = "both" if config.max_steps is not None else "neither"
        raise ConfigError(
            f"{given} of total_episodes (responses) and max_steps (iterations of "
            f"{config.rollout_batch_size} responses) are set; set one."
        )


def _check_batches(config: Any) -> None:
    for name in ("num_minibatches", "num_generations"):
        count = getattr(config, name)
        if count < 1 or config.rollout_batch_size % count:
            raise ConfigError(
                f"rollout_batch_size={config.rollout_batch_size} does not split into "
                f"{name}={count} equal parts; use a multiple of it."
            )


def _check_ranges(config: Any) -> None:
    for name in AT_LEAST_ONE:
        value = getattr(config, name)
        if value is not None and value < 1:
            raise ConfigError(f"{name}={value}; use 1 or more.")
    for name in ABOVE_ZERO:
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise ConfigError(f"{name}={value}; use a number above 0.")
    for name in ("gamma", "lam"):
        if not 0 <= getattr(config, name) <= 1:
            raise ConfigError(f"{name}={getattr(config, name)}; use a number from 0 to 1.")
    for name in ("kl_coef", "vf_coef", "critic_warmup_steps", "missing_eos_penalty"):
        value = getattr(config, name)
        if value is not None and not value >= 0:
            raise ConfigError(f"{name}={value}; use 0 or more.")
    for name in FINITE:
        value = getattr(config, name)
        if value is not None and not math.isfinite(value):
            raise ConfigError(f"{name}={value}; use a finite number.")
    if config.dual_clip is not None and not config.dual_clip > 1:
        raise ConfigError(f"dual_clip={config.dual_clip}; use a number above 1.")
    if config.importance_weight_cap is not None and not config.importance_weight_cap >= 1:
        raise ConfigError(
            f"importance_weight_cap={config.importance_weight_cap} would weigh down tokens that "
            "both forward passes agree on; use 1 or more."
        )


def _check_kl(config: Any) -> None:
    if config.best_kl is not None and config.eval_data is None:
        raise ConfigError(
            f"best_kl={config.best_kl} bounds what best/ keeps, and without eval_data nothing is "
            "kept there; give eval_data or leave it out."
        )
    if config.target_kl is None:
        if _set(config, ["kl_horizon"]):
            raise ConfigError(
                f"kl_horizon={config.kl_horizon} is the pace at which kl_coef follows target_kl, "
                "which is not set; set it or leave kl_horizon out."
            )
        return
    if config.kl_coef == 0:
        raise ConfigError(
            f"target_kl={config.target_kl} with kl_coef=0: the coefficient changes by factors and "
            "would stay 0; begin with a kl_coef near 0.05."
        )
    least = MOST_ERROR * config.rollout_batch_size
    if config.kl_horizon <= least:
        raise ConfigError(
            f"kl_horizon={config.kl_horizon}: one iteration of rollout_batch_size="
            f"{config.rollout_batch_size} could bring kl_coef to 0 or below; use more than "
            f"{least:g}."
        )


def _check_rewards(config: Any) -> None:
    if not config.reward:
        raise ConfigError(
            "reward is missing: name a reward model's folder or hub id, or file.py:function."
        )
    coef = config.reward_uncertainty_coef
    if coef is not None and config.reward_aggregation != "uncertainty":
        raise ConfigError(
            f"reward_uncertainty_coef={coef} means nothing with reward_aggregation="
            f"{config.reward_aggregation}; leave it out or use uncertainty."
        )
    if config.missing_eos_penalty is not None and config.missing_eos_score is not None:
        raise ConfigError(
            "missing_eos_penalty and missing_eos_score both say what an unfinished response "
            "gets; set one of them."
        )


def _check_advantage(config: Any) -> None:
    if config.has_critic:
        if config.critic_warmup_steps >= config.num_steps:
            raise ConfigError(
                f"critic_warmup_steps={config.critic_warmup_steps} of {config.num_steps} "
                "iterations: the policy would not be trained at all; warm up for fewer."
            )
        return
    if config.num_generations < 2:
        raise ConfigError(
            f"advantage={config.advantage} compares the answers to one prompt, and "
            f"num_generations={config.num_generations} gives one; use 2 or more, or advantage=gae."
        )
    for name in _set(config, OF_THE_CRITIC):
        raise ConfigError(
            f"{name}={getattr(config, name)} belongs to a critic, and "
            f"advantage={config.advantage} has none; leave it out or use advantage=gae."
        )
    if config.gamma != 1:
        raise ConfigError(
            f"gamma={config.gamma}: advantage={config.advantage} takes a response as one "
            "decision, which nothing discounts; leave it out."
        )
    if config.kl_in_loss and config.kl_estimator == "k1":
        raise ConfigError(
            "kl_estimator=k1 has no gradient on average in grpo's loss; use k3 or k2."
        )


def _check_mode(config: Any) -> None:
    if config.mode != "lora" and (ignored := _set(config, OF_LORA)):
        raise ConfigError(
            f"{ignored[0]} is set with mode={config.mode}; use mode=lora or leave it out."
        )
    if config.mode == "shared_trunk" and not config.has_critic:
        raise ConfigError(
            f"mode=shared_trunk shares a trunk with a critic, and advantage={config.advantage} "
            "has none; use mode=separate."
        )
    if config.mode != "separate" and config.value_model_path not in (None, "fresh"):
        raise ConfigError(
            f"value_model_path={config.value_model_path}: in mode={config.mode} the critic is a "
            "fresh head on the policy's backbone; leave it out."
        )
    if config.compile and config.gradient_checkpointing:
        raise ConfigError(
            "compile=true with gradient_checkpointing: layers that are computed again run as they "
            "are, and nothing would be compiled; set one of them."
        )
    if config.mode == "lora" and config.has_critic and config.gradient_checkpointing:
        raise ConfigError(
            "gradient_checkpointing with mode=lora would recompute the policy's layers with the "
            "critic's adapter; leave it out, or use advantage=rloo or grpo."
        )


def _set(config: Any, names: Sequence[str]) -> list[str]:
    """Those of `names` that have another value than their default."""
    defaults = {field.name: field.default for field in fields(config)}
    return [name for name in names if getattr(config, name) != defaults[name]]
