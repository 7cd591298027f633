"""Checks of PPO's keys, alone and together, before anything is loaded."""

from typing import TYPE_CHECKING

from rlhf.errors import ConfigError
from rlhf.rollouts.config import check_rollouts
from rlhf.rollouts.environment_config import check_environment_keys
from rlhf.runtime.field_types import changed_fields
from rlhf.training.common.config import check_finite
from rlhf.training.ppo.kl_controller import MOST_ERROR
from rlhf.training.ppo.method_validation import check_method
from rlhf.training.ppo.sampler_validation import check_sampler

if TYPE_CHECKING:
    from rlhf.training.ppo.config import PPOConfig
    from rlhf.training.ppo.settings import PPOSettings

AT_LEAST_ONE = (
    "num_ppo_epochs", "max_prompt_length", "max_completion_length", "save_steps",
    "save_total_limit", "eval_steps", "logging_steps", "num_eval_prompts", "kl_horizon",
    "max_tokens_per_microbatch", "rollout_batch_size", "max_steps", "total_episodes",
    "overlong_buffer",
)  # fmt: skip
ABOVE_ZERO = (
    "temperature", "clip_range", "value_clip_range", "max_grad_norm", "learning_rate",
    "value_learning_rate", "reward_clip", "target_kl", "kl_budget", "best_kl", "ptx_coef",
    "clip_range_high", "overlong_penalty",
)  # fmt: skip
# An infinite limit has no effect; an infinite step size or weight gives NaN.
FINITE = (
    "temperature", "learning_rate", "value_learning_rate", "kl_coef", "vf_coef", "ptx_coef",
    "missing_eos_penalty", "missing_eos_score", "entropy_coef", "overlong_penalty",
)  # fmt: skip
# Keys that only LoRA reads.
OF_LORA = (
    "lora_r", "lora_alpha", "lora_target_modules", "lora_modules_to_save", "use_rslora",
    "use_dora", "dtype", "load_in_4bit",
)  # fmt: skip


def check_ppo(config: "PPOConfig") -> None:
    """Check the keys of PPO, each alone and with each other.

    Raises:
        ConfigError: the key, its value, why, and what to do.
    """
    _check_length_of_run(config)
    _check_batches(config)
    _check_ranges(config)
    _check_kl(config)
    check_method(config)
    _check_mode(config)
    check_rollouts(config)
    check_environment_keys(config)
    check_sampler(config)


def check_together(settings: "PPOSettings") -> None:
    """Check keys of PPO against those of model, data and reward.

    Raises:
        ConfigError: a key that would be ignored, or keys that do not go together.
    """
    config, model = settings.ppo, settings.model
    if config.mode != "lora" and (ignored := changed_fields(model, OF_LORA)):
        raise ConfigError(
            f"{ignored[0]} is set with mode={config.mode}; use mode=lora or leave it out.",
            code="key-conflict",
        )
    if config.rollout_engine == "vllm" and model.load_in_4bit:
        raise ConfigError(
            "load_in_4bit with rollout_engine=vllm: the server would sample from other weights "
            "than those in 4 bits; leave one of them out.",
            code="key-conflict",
        )
    if config.best_kl is not None and settings.data.eval_data is None:
        raise ConfigError(
            f"best_kl={config.best_kl} bounds which policy best/ keeps, but without eval_data none "
            "is kept there; give eval_data or leave it out.",
            code="key-conflict",
        )
    if config.advantage == "remax" and settings.reward.reward_aggregation == "normalized_sum":
        raise ConfigError(
            "reward_aggregation=normalized_sum with advantage=remax: the baseline is the score of "
            "a greedy response, which is not among those that the sources are standardised over; "
            "use another advantage, or reward_aggregation=sum.",
            code="key-conflict",
        )
    if config.environment is not None and settings.reward.reward_aggregation == "normalized_sum":
        raise ConfigError(
            "reward_aggregation=normalized_sum with an environment, whose rewards of turns are not "
            "standardised: the two would have different scales; use reward_aggregation=sum.",
            code="key-conflict",
        )
    if (config.ptx_data is None) != (config.ptx_coef is None):
        raise ConfigError(
            f"ptx_data={config.ptx_data} and ptx_coef={config.ptx_coef} go together; "
            "set both (start with a ptx_coef near 0.1) or neither.",
            code="key-conflict",
        )
    if config.compile and model.gradient_checkpointing:
        raise ConfigError(
            "compile=true with gradient_checkpointing: recomputed layers run uncompiled, so "
            "nothing would be compiled; set one of them.",
            code="key-conflict",
        )
    if config.mode == "lora" and config.has_critic and model.gradient_checkpointing:
        raise ConfigError(
            "gradient_checkpointing with mode=lora would recompute the policy's layers with the "
            "critic's adapter; leave it out, or use an advantage without a critic.",
            code="key-conflict",
        )


def check_device(config: "PPOConfig") -> None:
    """Check that this machine has the device and the compiler that keys ask for.

    Raises:
        ConfigError: the key.
    """
    if not (config.cuda_graphs or config.compile or config.rollout_sleep):
        return
    import torch  # takes a second, and most runs have none of these keys

    from rlhf.models.compiled import missing_compiler

    if config.cuda_graphs and not torch.cuda.is_available():
        raise ConfigError(
            "cuda_graphs=true needs a CUDA GPU and this machine has none; leave it out.",
            code="unsupported",
        )
    if config.rollout_sleep and not torch.cuda.is_available():
        raise ConfigError(
            "rollout_sleep=true frees the server's GPU memory between rollouts, and this machine "
            "has no GPU; leave it out.",
            code="unsupported",
        )
    if config.compile and (missing := missing_compiler()):
        raise ConfigError(
            f"compile=true needs {missing}, which is not installed; leave it out.",
            code="missing-package",
        )


def check_sharding(config: "PPOConfig", *, sharded: bool) -> None:
    """Check that the engine supports the keys with sharded weights (FSDP).

    Raises:
        ConfigError: the key, and what to launch with instead.
    """
    if sharded and config.compile:
        raise ConfigError(
            "compile=true does not work with sharded weights (FSDP); leave it out, or launch with "
            "recipes/accelerate/ddp.yaml.",
            code="unsupported",
        )
    if sharded and config.rollout_lag:
        raise ConfigError(
            "rollout_lag=1 samples from a whole copy of the policy, but the launch configuration "
            "asks for FSDP; leave it out.",
            code="unsupported",
        )
    if sharded and config.mode == "lora":
        raise ConfigError(
            "the launch configuration asks for FSDP, but mode=lora keeps its one backbone whole on "
            "every process; launch with recipes/accelerate/ddp.yaml.",
            code="unsupported",
        )


def check_processes(settings: "PPOSettings", num_held_out: int, num_processes: int) -> None:
    """Check that every process gets rows in every part of the run.

    Raises:
        ConfigError: which rows are too few.
    """
    config = settings.ppo
    # Where responses may be skipped, a minibatch can be short of its share of them.
    skipped = config.rollout_batch_size // 100 if settings.reward.on_reward_error == "skip" else 0
    per_minibatch = (config.rollout_batch_size - skipped) // config.num_minibatches
    for name, count in (
        ("prompts per iteration (rollout_batch_size / num_generations)", config.num_prompts),
        ("responses per minibatch (rollout_batch_size / num_minibatches)", per_minibatch),
        ("held-out prompts (eval_data, num_eval_prompts)", num_held_out),
    ):
        if count < num_processes:
            raise ConfigError(
                f"{count} {name} do not give {num_processes} processes one each; "
                "raise it or launch fewer processes.",
                code="bad-launch",
            )


def _check_length_of_run(config: "PPOConfig") -> None:
    if (config.total_episodes is None) == (config.max_steps is None):
        is_missing = config.max_steps is None
        raise ConfigError(
            f"{'neither' if is_missing else 'both'} of total_episodes (responses) and max_steps "
            f"(iterations of {config.rollout_batch_size} responses) are set; set one.",
            code="missing-key" if is_missing else "key-conflict",
        )


def _check_batches(config: "PPOConfig") -> None:
    for name in ("num_minibatches", "num_generations"):
        count = getattr(config, name)
        if count < 1 or config.rollout_batch_size % count:
            raise ConfigError(
                f"rollout_batch_size={config.rollout_batch_size} does not split into "
                f"{name}={count} equal parts; use a multiple of {count}.",
                code="bad-value" if count < 1 else "key-conflict",
            )


def _check_ranges(config: "PPOConfig") -> None:
    for name in AT_LEAST_ONE:
        value = getattr(config, name)
        if value is not None and value < 1:
            raise ConfigError(f"{name}={value}; use 1 or more.", code="bad-value")
    for name in ABOVE_ZERO:
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise ConfigError(f"{name}={value}; use a number above 0.", code="bad-value")
    for name in ("gamma", "lam"):
        if not 0 <= getattr(config, name) <= 1:
            raise ConfigError(
                f"{name}={getattr(config, name)}; use a number from 0 to 1.", code="bad-value"
            )
    for name in (
        "kl_coef", "vf_coef", "critic_warmup_steps", "missing_eos_penalty", "entropy_coef",
        "dynamic_sampling",
    ):  # fmt: skip
        value = getattr(config, name)
        if value is not None and not value >= 0:
            raise ConfigError(f"{name}={value}; use 0 or more.", code="bad-value")
    check_finite(config, FINITE)
    if config.dual_clip is not None and not config.dual_clip > 1:
        raise ConfigError(f"dual_clip={config.dual_clip}; use a number above 1.", code="bad-value")
    if config.importance_weight_cap is not None and not config.importance_weight_cap >= 1:
        raise ConfigError(
            f"importance_weight_cap={config.importance_weight_cap} would reduce the weight of "
            "tokens on which both forward passes agree; use 1 or more.",
            code="bad-value",
        )


def _check_kl(config: "PPOConfig") -> None:
    if config.target_kl is None:
        if changed_fields(config, ["kl_horizon"]):
            raise ConfigError(
                f"kl_horizon={config.kl_horizon} sets how fast kl_coef follows target_kl, "
                "which is not set; set it or leave kl_horizon out.",
                code="key-conflict",
            )
        return
    if config.kl_coef == 0:
        raise ConfigError(
            f"target_kl={config.target_kl} with kl_coef=0: the coefficient is multiplied by "
            "factors and would stay 0; start with a kl_coef near 0.05.",
            code="key-conflict",
        )
    least = MOST_ERROR * config.rollout_batch_size
    if config.kl_horizon <= least:
        raise ConfigError(
            f"kl_horizon={config.kl_horizon}: one iteration of rollout_batch_size="
            f"{config.rollout_batch_size} could lower kl_coef to 0 or below; use more "
            f"than {least:g}.",
            code="key-conflict",
        )


def _check_mode(config: "PPOConfig") -> None:
    if config.mode == "shared_trunk" and not config.has_critic:
        raise ConfigError(
            f"mode=shared_trunk shares a trunk with a critic, but advantage={config.advantage} "
            "has none; use mode=separate.",
            code="key-conflict",
        )
    if config.mode != "separate" and config.value_model_path not in (None, "fresh"):
        raise ConfigError(
            f"value_model_path={config.value_model_path}: in mode={config.mode} the critic is a "
            "fresh head on the policy's backbone; leave it out.",
            code="key-conflict",
        )
