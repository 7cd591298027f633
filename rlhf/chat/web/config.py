"""Address, access and limits of `rlhf serve`."""

import argparse
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from rlhf.chat.web.limits import Limits, limits_of
from rlhf.errors import ConfigError
from rlhf.web.server import LOOPBACK_NAMES, check_address

ORIGIN = re.compile(r"https?://[^/\s?#@]+")
MIN_TOKEN_LENGTH = 16  # characters; a shorter token can be guessed


@dataclass(frozen=True, kw_only=True)
class ChatServerConfig:
    """Settings of the server."""

    host: str = "127.0.0.1"
    port: int = 8080
    public: bool = False
    token: str | None = None  # None: every client that reaches the address has access
    allowed_hosts: Sequence[str] = ()
    allowed_origins: Sequence[str] = ()  # pages of other sites that may use the API (CORS)
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
        for origin in self.allowed_origins:
            _check_origin(origin, self.token)

    @property
    def hosts(self) -> set[str]:
        """Values of the Host header that are accepted."""
        return {*LOOPBACK_NAMES, self.host, *self.allowed_hosts}


def _check_origin(origin: str, token: str | None) -> None:
    """Check that a value is an origin, or `*` on a server with a token.

    Raises:
        ConfigError: it is neither.
    """
    if origin == "*" and token is None:
        raise ConfigError(
            "allowed_origins=* would let every page that you open use the models; set a --token, "
            "or name the origins.",
            code="key-conflict",
        )
    if origin != "*" and not ORIGIN.fullmatch(origin):
        raise ConfigError(
            f"allowed_origins={origin} is not an origin; write for example http://localhost:3000, "
            "without a path.",
            code="bad-value",
        )


def server_config(options: argparse.Namespace) -> ChatServerConfig:
    """The settings that the command line gives; a public server gets a random token of 256 bits.

    Raises:
        ConfigError: an unusable value.
    """
    return ChatServerConfig(
        host=options.host,
        port=options.port,
        public=options.public,
        token=options.token or (secrets.token_urlsafe(32) if options.public else None),
        allowed_hosts=options.allowed_hosts,
        allowed_origins=options.allowed_origins,
        limits=limits_of(options),
    )
