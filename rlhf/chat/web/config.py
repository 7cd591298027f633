"""What `rlhf serve` was asked for."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from rlhf.chat.web.model_pool import Limits
from rlhf.errors import ConfigError
from rlhf.web.server import LOOPBACK_NAMES, check_address

SHORTEST_TOKEN = 16  # characters; fewer can be tried out


@dataclass(frozen=True, kw_only=True)
class ChatServerConfig:
    """How the server is reached, and what it takes."""

    host: str = "127.0.0.1"
    port: int = 8080
    public: bool = False
    token: str | None = None  # None: whoever reaches the address is let in
    allowed_hosts: Sequence[str] = ()
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        check_address(self.host, self.port, public=self.public)
        if self.public and not self.token:
            raise ConfigError("a public server needs a token.")
        if self.token is not None and (
            len(self.token) < SHORTEST_TOKEN or not self.token.isascii() or " " in self.token
        ):
            raise ConfigError(
                f"a token has {SHORTEST_TOKEN} or more characters of ASCII and no space; "
                "leave --token out for one that is drawn."
            )

    @property
    def hosts(self) -> set[str]:
        """Host names that requests may name."""
        return {*LOOPBACK_NAMES, self.host, *self.allowed_hosts}


def drawn_token() -> str:
    """A token of 256 random bits."""
    return secrets.token_urlsafe(32)
