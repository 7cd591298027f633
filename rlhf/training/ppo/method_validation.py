"""Checks of the keys that make up a method: advantage, loss, and treatment of long responses."""

from typing import TYPE_CHECKING

from rlhf.errors import ConfigError
from rlhf.runtime.field_types import changed_fields

if TYPE_CHECKING:
    from rlhf.training.ppo.config import PPOConfig

# Keys that only a critic reads.
OF_THE_CRITIC = (
    "value_model_path", "value_learning_rate", "critic_warmup_steps", "whiten_rewards",
    "vf_coef", "value_clip_range", "lam",
)  # fmt: skip


def check_method(config: "PPOConfig") -> None:
    """Check that the method's keys have an effect together.

    Raises:
        ConfigError: a key that would be ignored, or keys that contradict each other.
    """
    _check_unfinished(config)
    _check_groups(config)
    _check_critic(config)
    _check_loss(config)


def _check_unfinished(config: "PPOConfig") -> None:
    """Keys about responses that reach max_completion_length, or nearly."""
    if config.missing_eos_penalty is not None and config.missing_eos_score is not None:
        raise ConfigError(
            "missing_eos_penalty and missing_eos_score both set the score of an unfinished "
            "response; set one of them.",
            code="key-conflict",
        )
    penalties = changed_fields(config, ["missing_eos_penalty", "missing_eos_score"])
    if config.mask_truncated and penalties:
        raise ConfigError(
            f"mask_truncated=true leaves unfinished responses out of the loss, so {penalties[0]} "
            "would only move the baseline of the others; set one of them.",
            code="key-conflict",
        )
    if config.overlong_buffer is None and changed_fields(config, ["overlong_penalty"]):
        raise ConfigError(
            f"overlong_penalty={config.overlong_penalty} needs overlong_buffer, the tokens over "
            "which it grows; set both or neither.",
            code="key-conflict",
        )
    if (config.overlong_buffer or 0) > config.max_completion_length:
        raise ConfigError(
            f"overlong_buffer={config.overlong_buffer} is longer than the longest response "
            f"(max_completion_length={config.max_completion_length}); use a fifth of it.",
            code="key-conflict",
        )


def _check_groups(config: "PPOConfig") -> None:
    if config.compares_groups and config.num_generations < 2:
        raise ConfigError(
            f"advantage={config.advantage} compares the responses to one prompt, but "
            f"num_generations={config.num_generations} samples only one; use 2 or more, or "
            "advantage=gae, reinforce++ or remax.",
            code="key-conflict",
        )
    if config.dynamic_sampling and not config.compares_groups:
        raise ConfigError(
            f"dynamic_sampling={config.dynamic_sampling} replaces prompts whose responses have "
            f"equal scores, but advantage={config.advantage} does not compare them; leave it out.",
            code="key-conflict",
        )
    if config.gamma != 1 and config.advantage not in ("gae", "reinforce++"):
        raise ConfigError(
            f"gamma={config.gamma}: advantage={config.advantage} treats a response as one "
            "decision, without discount; leave gamma out.",
            code="key-conflict",
        )


def _check_critic(config: "PPOConfig") -> None:
    if config.has_critic:
        if config.critic_warmup_steps >= config.num_steps:
            raise ConfigError(
                f"critic_warmup_steps={config.critic_warmup_steps} of {config.num_steps} "
                "iterations: the policy would never be trained; use fewer.",
                code="key-conflict",
            )
        return
    for name in changed_fields(config, OF_THE_CRITIC):
        raise ConfigError(
            f"{name}={getattr(config, name)} belongs to a critic, but "
            f"advantage={config.advantage} has none; leave it out or use advantage=gae.",
            code="key-conflict",
        )


def _check_loss(config: "PPOConfig") -> None:
    if config.kl_in_loss and config.kl_estimator == "k1":
        raise ConfigError(
            "kl_estimator=k1 has no gradient on average in the loss; use k2 or k3, or "
            "kl_in=rewards.",
            code="key-conflict",
        )
    if config.surrogate == "clipped":
        return
    if config.clip_range_high is None:
        raise ConfigError(
            "surrogate=cispo caps the ratio at 1 + clip_range_high, which is not set; set it (4 is "
            "a start).",
            code="missing-key",
        )
    for name in changed_fields(config, ("clip_range", "dual_clip", "importance_level")):
        raise ConfigError(
            f"{name}={getattr(config, name)} belongs to surrogate=clipped; cispo caps each "
            "token's ratio at 1 + clip_range_high and nothing else. Leave it out.",
            code="key-conflict",
        )
