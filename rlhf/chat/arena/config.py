"""Settings of the arena."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field

from rlhf.chat.web.limits import Limits, limits_of
from rlhf.errors import ConfigError
from rlhf.web.server import LOOPBACK_NAMES, check_address

TEMPERATURE = 0.7  # of every answer
MAX_QUESTION = 4000  # characters
MAX_RUNNING = 4  # questions of one address that are being answered at a time
WINDOW = 3600.0  # seconds in which the questions of an address are counted


@dataclass(frozen=True, kw_only=True)
class ArenaConfig:
    """Address and limits of `rlhf serve --arena`. Everybody who reaches the address may vote."""

    host: str = "127.0.0.1"
    port: int = 8080
    public: bool = False
    allowed_hosts: Sequence[str] = ()
    trusted_proxy: Sequence[str] = ()  # addresses and networks whose X-Forwarded-For is believed
    questions_per_hour: int = 60  # of one address
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        check_address(self.host, self.port, public=self.public)
        if self.questions_per_hour < 1:
            raise ConfigError(
                f"questions_per_hour={self.questions_per_hour} must be 1 or more.",
                code="bad-value",
            )

    @property
    def hosts(self) -> set[str]:
        """Values of the Host header that are accepted."""
        return {*LOOPBACK_NAMES, self.host, *self.allowed_hosts}


def arena_config(options: argparse.Namespace) -> ArenaConfig:
    """The settings that the command line gives.

    Raises:
        ConfigError: an unusable value.
    """
    return ArenaConfig(
        host=options.host,
        port=options.port,
        public=options.public,
        allowed_hosts=options.allowed_hosts,
        trusted_proxy=options.trusted_proxy,
        questions_per_hour=options.questions_per_hour,
        limits=limits_of(options),
    )
