"""Keys of the environment that answers the model's turns."""

from dataclasses import dataclass, field

from rlhf.errors import ConfigError
from rlhf.runtime.field_types import changed_fields


@dataclass(frozen=True, kw_only=True)
class EnvironmentConfig:
    """Keys of the environment that answers the model's turns."""

    environment: str | None = field(
        default=None,
        metadata={
            "help": "Environment that answers the model's turns and rewards them, as "
            "file.py:Class with reset(prompt) and step(messages). max_completion_length is then "
            "the length of all turns, with the environment's messages."
        },
    )
    max_turns: int = field(
        default=8, metadata={"help": "Turns of the model after which an episode is cut off."}
    )


def check_environment_keys(config: EnvironmentConfig) -> None:
    """Check that the keys have an effect together.

    Raises:
        ConfigError: a key that would be ignored, or one out of range.
    """
    if config.max_turns < 1:
        raise ConfigError(f"max_turns={config.max_turns}; use 1 or more.", code="bad-value")
    if config.environment is None and changed_fields(config, ["max_turns"]):
        raise ConfigError(
            f"max_turns={config.max_turns} is of an environment, which is not set; set "
            "environment or leave max_turns out.",
            code="key-conflict",
        )
