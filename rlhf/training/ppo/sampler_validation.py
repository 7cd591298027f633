"""Checks of the keys of sampling: engine, environment, overlap, importance weights."""

from typing import TYPE_CHECKING

from rlhf.errors import ConfigError
from rlhf.runtime.field_types import changed_fields

if TYPE_CHECKING:
    from rlhf.training.ppo.config import PPOConfig

# Keys that only importance weights read.
OF_THE_CORRECTION = (
    "importance_weight_floor", "importance_correction", "importance_correction_level",
)  # fmt: skip


def check_sampler(config: "PPOConfig") -> None:
    """Check keys of the engine, of the environment, and of what corrects for the engine.

    Raises:
        ConfigError: a key that would be ignored, or keys that do not go together.
    """
    if config.rollout_engine != "native" and config.cuda_graphs:
        raise ConfigError(
            f"cuda_graphs=true is an option of rollout_engine=native, not of "
            f"{config.rollout_engine}; leave it out.",
            code="key-conflict",
        )
    if config.rollout_lag not in (0, 1):
        raise ConfigError(
            f"rollout_lag={config.rollout_lag}; use 0, or 1 to sample one iteration ahead.",
            code="bad-value",
        )
    if config.rollout_lag:
        _check_lag(config)
    if config.rollout_sleep:
        _check_sleep(config)
    if config.importance_weight_cap is not None and not config.recomputes_logprobs:
        raise ConfigError(
            "importance_weight_cap weighs tokens by recomputed log-probs, and recompute_logprobs="
            "never has none; leave one of them out.",
            code="key-conflict",
        )
    if config.weight_cap is None or not config.recomputes_logprobs:
        for name in changed_fields(config, OF_THE_CORRECTION):
            raise ConfigError(
                f"{name} belongs to importance weights, which this run has not; set "
                "importance_weight_cap or leave it out.",
                code="key-conflict",
            )
    floor = config.importance_weight_floor
    if floor is not None and config.importance_correction != "mask":
        raise ConfigError(
            f"importance_weight_floor={floor} is a limit of importance_correction=mask; truncation "
            "has only importance_weight_cap. Leave it out.",
            code="key-conflict",
        )
    if floor is not None and not 0 < floor <= 1:
        raise ConfigError(
            f"importance_weight_floor={floor} would leave out tokens on which both forward passes "
            "agree; use a number above 0, and 1 at most.",
            code="bad-value",
        )


def _check_sleep(config: "PPOConfig") -> None:
    """Check that a server that the run starts may free its memory between the rollouts."""
    if config.rollout_engine != "vllm" or config.rollout_server is not None:
        raise ConfigError(
            "rollout_sleep=true is an option of a vLLM server that the run starts; set "
            "rollout_engine=vllm without rollout_server, or leave it out.",
            code="key-conflict",
        )
    if config.environment is not None:
        raise ConfigError(
            "rollout_sleep=true with an environment: the server would sleep between the turns, at "
            "which processes do not meet; leave one of them out.",
            code="key-conflict",
        )


def _check_lag(config: "PPOConfig") -> None:
    """What needs the engine, or the weights that it samples with, while the policy trains."""
    reasons = {
        "rollout_engine=transformers": config.rollout_engine == "transformers",
        "rollout_sleep=true": config.rollout_sleep,
        "environment": config.environment is not None,
        "dynamic_sampling": config.dynamic_sampling > 0,
        "advantage=remax": config.advantage == "remax",
        "recompute_logprobs=never": config.recompute_logprobs == "never",
    }
    for name, given in reasons.items():
        if given:
            raise ConfigError(
                f"rollout_lag=1 samples while the policy trains, which does not work with {name}; "
                "leave one of them out.",
                code="key-conflict",
            )
