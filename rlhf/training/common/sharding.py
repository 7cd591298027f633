"""Sharded weights (FSDP2) in SFT and reward-model training."""

from accelerate import PartialState

from rlhf.errors import ConfigError
from rlhf.models.config import ModelConfig
from rlhf.models.shard import sharding_requested
from rlhf.runtime.distributed import requested_sharding
from rlhf.training.common.config import TrainingConfig


def check_sharding(model: ModelConfig, config: TrainingConfig) -> None:
    """Check that the keys go with sharded weights, if the launch configuration asks for them.

    Raises:
        ConfigError: the key, and what to launch with instead; a setting of FSDP that is not
            supported.
    """
    if sharding_requested() and model.use_peft:
        raise ConfigError(
            "the launch configuration asks for FSDP, but use_peft keeps its frozen base whole on "
            "every process; launch with recipes/accelerate/ddp.yaml.",
            code="unsupported",
        )
    sharding = requested_sharding()
    if config.early_stopping_patience is not None and sharding:
        raise ConfigError(
            "early_stopping_patience keeps a copy of whole weights, but this run shards them "
            f"({sharding}); leave it out.",
            code="key-conflict",
        )


def is_sharded() -> bool:
    """Whether this run shards the weights that it trains: FSDP, and several processes."""
    return sharding_requested() and PartialState().num_processes > 1
