"""Statistics of a store as JSON: for the report, and for `rlhf label stats --output`."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass

from rlhf.evaluation.stats.bootstrap import Estimate
from rlhf.labels.model_results import ModelResults
from rlhf.labels.stats import StoreStats
from rlhf.runtime.json_numbers import finite_or_null


def stats_text(stats: StoreStats, results: ModelResults | None = None) -> str:
    """One JSON object: the fields of the statistics and, with `results`, `models`.

    Shares of no cases, an undefined alpha and the ends of a missing interval are null.
    """
    content = _fields(stats)
    if results is not None:
        against: dict[str, dict[str, object]] = {}
        for (model, other), won in results.head_to_head.items():
            against.setdefault(model, {})[other] = won
        # Pairs of names cannot be keys in JSON.
        content["models"] = _fields(results) | {"head_to_head": against}
    plain = finite_or_null(_plain(content))
    return json.dumps(plain, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: object) -> object:
    """`value` as JSON has it, at any depth: estimates and other records as objects."""
    if isinstance(value, Estimate):
        return _plain(value.content)
    if is_dataclass(value):
        return {key: _plain(content) for key, content in _fields(value).items()}
    if isinstance(value, Mapping):
        return {key: _plain(content) for key, content in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _fields(of: object) -> dict[str, object]:
    assert is_dataclass(of)
    return {field.name: getattr(of, field.name) for field in fields(of)}
