"""Ranges of the numbers that training recipes share, checked before anything starts."""

from typing import Any

from rlhf.errors import ConfigError

AT_LEAST_ONE = (
    "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps", "logging_steps",
    "eval_steps", "save_steps", "save_total_limit",
)  # fmt: skip
ABOVE_ZERO = ("learning_rate", "num_train_epochs", "max_grad_norm")


def check_ranges(config: Any) -> None:
    """Refuse counts below 1, rates of 0 or less, and a warm-up that is no share.

    Raises:
        ConfigError: the key, its value and what it may be.
    """
    for name in AT_LEAST_ONE:
        value = getattr(config, name)
        if value is not None and value < 1:
            raise ConfigError(f"{name}={value}; use 1 or more.")
    for name in ABOVE_ZERO:
        if not getattr(config, name) > 0:
            raise ConfigError(f"{name}={getattr(config, name)}; use a number above 0.")
    if not 0 <= config.warmup_ratio < 1:
        raise ConfigError(f"warmup_ratio={config.warmup_ratio} is no share; use 0 to below 1.")
    if config.weight_decay < 0:
        raise ConfigError(f"weight_decay={config.weight_decay}; use 0 or more.")
    if config.num_samples < 0:
        raise ConfigError(f"num_samples={config.num_samples}; use 0 or more.")
