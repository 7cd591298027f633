"""Limits of the requests to a server's models."""

import argparse
from dataclasses import dataclass

from rlhf.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one server."""

    slots: int = 32  # responses of a model generated at a time
    waiting: int = 64  # responses that wait for a slot; further requests are rejected
    max_new_tokens: int = 512  # of a request: the default and the maximum
    max_prompt_tokens: int = 8192


def limits_of(options: argparse.Namespace) -> Limits:
    """The limits that the command line sets.

    Raises:
        ConfigError: a number out of range.
    """
    for name in ("max_requests", "max_new_tokens", "max_prompt_tokens"):
        if getattr(options, name) < 1:
            raise ConfigError(
                f"{name}={getattr(options, name)} must be 1 or more.", code="bad-value"
            )
    if options.max_waiting < 0:
        raise ConfigError(f"max_waiting={options.max_waiting} must be 0 or more.", code="bad-value")
    return Limits(
        slots=options.max_requests,
        waiting=options.max_waiting,
        max_new_tokens=options.max_new_tokens,
        max_prompt_tokens=options.max_prompt_tokens,
    )
