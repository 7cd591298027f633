"""A value that a reward returned, as a number."""

import math
from typing import Any


def number_of(value: Any) -> float:
    """The value as a number; NaN where it is none, such as a text of digits."""
    if isinstance(value, str | bytes | bytearray):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last: a tensor of several
        return math.nan
