"""Keys that SFT and reward-model training share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from rlhf.errors import ConfigError
from rlhf.runtime.field_types import check_field_types

AT_LEAST_ONE = (
    "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps", "logging_steps",
    "eval_steps", "save_steps", "save_total_limit", "early_stopping_patience",
)  # fmt: skip
ABOVE_ZERO = ("learning_rate", "num_train_epochs", "max_grad_norm")
AT_LEAST_ZERO = ("weight_decay", "num_samples")
BELOW_ONE = ("warmup_ratio", "early_stopping_threshold")
# An infinite limit has no effect; an infinite step size or weight gives NaN.
FINITE = ("learning_rate", "num_train_epochs", "weight_decay")

Optim = Literal["adamw_torch", "adamw_bf16", "adamw_8bit", "paged_adamw_8bit"]
OPTIM_HELP = (
    "AdamW of torch; with moments in bf16, rounded at random (4 bytes per weight in place of 8); "
    "or of bitsandbytes in 8 bits (2 bytes); paged: they may be moved to the memory of the CPU "
    "(GPU only)."
)


def check_finite(config: object, names: Sequence[str]) -> None:
    """Check that the numbers of these keys, where they are set, are neither NaN nor infinite.

    Raises:
        ConfigError: the key and its value.
    """
    for name in names:
        value = getattr(config, name)
        if value is not None and not math.isfinite(value):
            raise ConfigError(f"{name}={value}; use a finite number.", code="bad-value")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Optimizer steps, their schedule, evaluations and checkpoints."""

    learning_rate: float = field(default=1e-5, metadata={"help": "Peak learning rate."})
    num_train_epochs: float = field(default=1.0, metadata={"help": "Passes over the rows."})
    max_steps: int | None = field(
        default=None, metadata={"help": "Optimizer steps; overrides num_train_epochs."}
    )
    optim: Optim = field(default="adamw_torch", metadata={"help": OPTIM_HELP})
    per_device_train_batch_size: int = field(
        default=8, metadata={"help": "Rows that a process reads at once."}
    )
    gradient_accumulation_steps: int = field(
        default=1, metadata={"help": "Batches summed up to one optimizer step."}
    )
    warmup_ratio: float = field(default=0.05, metadata={"help": "Share of steps to warm up over."})
    weight_decay: float = field(default=0.0, metadata={"help": "AdamW's weight decay."})
    max_grad_norm: float = field(default=1.0, metadata={"help": "Clip gradients to this norm."})
    logging_steps: int = field(default=10, metadata={"help": "Steps between lines of metrics."})
    eval_steps: int = field(
        default=50,
        metadata={
            "help": "Steps between held-out evaluations. There is also one before and one "
            "after the run."
        },
    )
    save_steps: int = field(default=100, metadata={"help": "Steps between checkpoints."})
    save_total_limit: int = field(default=2, metadata={"help": "Checkpoints to keep."})
    early_stopping_patience: int | None = field(
        default=None,
        metadata={
            "help": "Stop after this many evaluations in a row without progress, and keep the "
            "weights with the lowest held-out loss. Default: never."
        },
    )
    early_stopping_threshold: float = field(
        default=0.002,
        metadata={
            "help": "An evaluation is progress if it lowers the held-out loss by at least "
            "this share."
        },
    )
    num_samples: int = field(default=16, metadata={"help": "Held-out rows to show in samples/."})

    def __post_init__(self) -> None:
        check_field_types(self)
        check_finite(self, FINITE)
        for name in AT_LEAST_ONE:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name}={value}; use 1 or more.", code="bad-value")
        for name in ABOVE_ZERO:
            if not getattr(self, name) > 0:
                value = getattr(self, name)
                raise ConfigError(f"{name}={value}; use a number above 0.", code="bad-value")
        for name in AT_LEAST_ZERO:
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}={getattr(self, name)}; use 0 or more.", code="bad-value")
        for name in BELOW_ONE:
            if not 0 <= getattr(self, name) < 1:
                value = getattr(self, name)
                raise ConfigError(
                    f"{name}={value} is not a share; use a number from 0 up to, but not "
                    "including, 1.",
                    code="bad-value",
                )


@dataclass(frozen=True, kw_only=True)
class PolicyTrainingConfig(TrainingConfig):
    """Keys that trainings of a policy on labels share."""

    learning_rate: float = field(default=1e-6, metadata={"help": "Peak learning rate."})
    num_samples: int = field(
        default=16,
        metadata={"help": "Prompts to sample responses for before and after, in samples/."},
    )
    sample_max_new_tokens: int = field(
        default=128, metadata={"help": "Longest response in samples/, in tokens."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sample_max_new_tokens < 1:
            raise ConfigError(
                f"sample_max_new_tokens={self.sample_max_new_tokens}; use 1 or more.",
                code="bad-value",
            )
