"""Statistics of a store as JSON: for the report, and for `rlhf label stats --output`."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict

from rlhf.labels.model_results import ModelResults
from rlhf.labels.stats import StoreStats


def stats_text(stats: StoreStats, results: ModelResults | None = None) -> str:
    """One JSON object: the fields of the statistics and, with `results`, `models`.

    Shares of no cases and an undefined alpha are null: NaN is not JSON.
    """
    content: dict[str, object] = asdict(stats)
    if results is not None:
        against: dict[str, dict[str, object]] = {}
        for (model, other), won in results.head_to_head.items():
            against.setdefault(model, {})[other] = asdict(won)
        # Pairs of names cannot be keys in JSON.
        content["models"] = asdict(results) | {"head_to_head": against}
    return json.dumps(_with_nulls(content), ensure_ascii=False, allow_nan=False) + "\n"


def _with_nulls(value: object) -> object:
    """`value` with None in place of numbers that are not finite, at any depth."""
    if isinstance(value, Mapping):
        return {key: _with_nulls(content) for key, content in value.items()}
    if isinstance(value, list | tuple):
        return [_with_nulls(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
