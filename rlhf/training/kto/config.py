"""Keys of Kahneman-Tversky optimization."""

from dataclasses import dataclass, field

from rlhf.errors import ConfigError
from rlhf.training.common.config import PolicyTrainingConfig, check_finite

ABOVE_ZERO = ("beta", "desirable_weight", "undesirable_weight")


@dataclass(frozen=True, kw_only=True)
class KTOConfig(PolicyTrainingConfig):
    """Keys of Kahneman-Tversky optimization."""

    num_train_epochs: float = field(default=1.0, metadata={"help": "Passes over the rows."})
    per_device_train_batch_size: int = field(
        default=16, metadata={"help": "Responses that a process reads at once."}
    )
    beta: float = field(
        default=0.1,
        metadata={"help": "Inverse temperature: a larger one stays closer to the initial model."},
    )
    desirable_weight: float | None = field(
        default=None,
        metadata={
            "help": "Weight of a thumb up. Default: 1, or more if there are fewer of them, so that "
            "both kinds have the same weight in total."
        },
    )
    undesirable_weight: float | None = field(
        default=None, metadata={"help": "Weight of a thumb down. Default: as for a thumb up."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_finite(self, ABOVE_ZERO)
        for name in ABOVE_ZERO:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name}={value}; use a number above 0.", code="bad-value")
        if (self.desirable_weight is None) != (self.undesirable_weight is None):
            raise ConfigError(
                "desirable_weight and undesirable_weight: set both, or neither to balance them.",
                code="key-conflict",
            )
