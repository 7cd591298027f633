"""Address, access and limits of `rlhf serve`."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from rlhf.chat.web.model_pool import Limits
from rlhf.errors import ConfigError
from rlhf.web.server import LOOPBACK_NAMES, check_address

MIN_TOKEN_LENGTH = 16  # characters; a shorter token can be guessed


@dataclass(frozen=True, kw_only=True)
class ChatServerConfig:
    """Settings of the server."""

    host: str = "127.0.0.1"
    port: int = 8080
    public: bool = False
    token: str | None = None  # None: every client that reaches the address has access
    allowed_hosts: Sequence[str] = ()
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        check_address(self.host, self.port, public=self.public)
        if self.public and not self.token:
            raise ConfigError("public=True needs a token.", code="missing-key")
        if self.token is not None and (
            len(self.token) < MIN_TOKEN_LENGTH or not self.token.isascii() or " " in self.token
        ):
            raise ConfigError(
                f"token must have at least {MIN_TOKEN_LENGTH} ASCII characters and no space; leave "
                "--token out to get a random one.",
                code="bad-value",
            )

    @property
    def hosts(self) -> set[str]:
        """Values of the Host header that are accepted."""
        return {*LOOPBACK_NAMES, self.host, *self.allowed_hosts}


def random_token() -> str:
    """A token of 256 random bits."""
    return secrets.token_urlsafe(32)
