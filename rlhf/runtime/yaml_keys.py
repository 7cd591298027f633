"""Checked values of the keys of a YAML file."""

import math
from collections.abc import Mapping, Sequence
from typing import TypeGuard

from rlhf.errors import ConfigError


def check_keys(place: object, keys: Mapping[str, object], known: Sequence[str]) -> None:
    """Check that there is no key of another name.

    Args:
        place: the file, and where in it, for messages.
        keys: of the file, with their values.
        known: names that may occur.
    """
    for key in keys:
        if key not in known:
            raise ConfigError(
                f"{place}: unknown key {key!r}; the keys are {', '.join(known)}.",
                code="unknown-key",
            )


def text_of(place: object, keys: Mapping[str, object], name: str) -> str:
    """The text of a key; empty where it is missing.

    Raises:
        ConfigError: another value.
    """
    value = keys.get(name) or ""
    if not isinstance(value, str):
        raise ConfigError(f"{place}: {name}={value!r}; use a text.", code="bad-value")
    return value


def number_of(
    place: object, keys: Mapping[str, object], name: str, default: float, *, least: float
) -> float:
    """The number of a key.

    Raises:
        ConfigError: another value, or a number below `least`.
    """
    value = keys.get(name, default)
    if not is_number(value) or value < least:
        raise ConfigError(
            f"{place}: {name}={value!r}; use a number of at least {least:g}.", code="bad-value"
        )
    return float(value)


def whole_of(place: object, keys: Mapping[str, object], name: str, default: int) -> int:
    """The whole number of a key, at least 1.

    Raises:
        ConfigError: another value.
    """
    value = number_of(place, keys, name, default, least=1)
    if value != int(value):
        raise ConfigError(f"{place}: {name}={value}; use a whole number.", code="bad-value")
    return int(value)


def scale_of(place: object, value: object, advice: str) -> tuple[float, float]:
    """The lowest and the highest number of a scale such as [1, 10].

    Args:
        place: as above.
        value: of the key.
        advice: what to write instead, for the message.

    Raises:
        ConfigError: anything but two finite numbers, the lower one first.
    """
    numbers = value if isinstance(value, list) and len(value) == 2 else []
    ends = [float(each) for each in numbers if is_number(each)]
    if len(ends) != 2 or not ends[0] < ends[1]:
        raise ConfigError(f"{place}: scale={value!r}; {advice}.", code="bad-value")
    return ends[0], ends[1]


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a finite number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
