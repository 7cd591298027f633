"""Keys of Kahneman-Tversky optimization."""

from dataclasses import dataclass, field

from rlhf.errors import ConfigError
from rlhf.training.common.config import PolicyTrainingConfig, check_finite

# Keys that define the loss of a batch; another value of one makes another run.
LOSS_KEYS = ("beta", "desirable_weight", "undesirable_weight")


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
        check_finite(self, LOSS_KEYS)
        if not self.beta > 0:
            raise ConfigError(f"beta={self.beta}; use a number above 0.", code="bad-value")
        weights = (self.desirable_weight, self.undesirable_weight)
        for name, value in zip(LOSS_KEYS[1:], weights, strict=True):
            if value is not None and not value > 0:
                raise ConfigError(f"{name}={value}; use a number above 0.", code="bad-value")
        if (weights[0] is None) != (weights[1] is None):
            raise ConfigError(
                "desirable_weight and undesirable_weight: set both, or neither to balance them.",
                code="key-conflict",
            )
