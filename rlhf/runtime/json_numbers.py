"""NaN and infinities, which JSON does not have, as null."""

import math
from collections.abc import Mapping
from typing import Any


def finite_or_null(value: Any) -> Any:
    """`value` with None in place of numbers that are not finite, at any depth."""
    if isinstance(value, Mapping):
        return {key: finite_or_null(content) for key, content in value.items()}
    if isinstance(value, list | tuple):
        return [finite_or_null(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
