"""Rewards: the constraints of a prompt that a response meets, and how close it is to the others."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2]))

from recipes.instructions.closeness import closeness
from recipes.instructions.constraints import is_met


def constraints_met(
    prompts: Sequence[str],
    completions: Sequence[str],
    constraints: Sequence[Sequence[Mapping[str, Any]]],
) -> list[float]:
    """Share of the constraints that each response meets, 0 to 1."""
    return _means(is_met, completions, constraints)


def all_met(
    prompts: Sequence[str],
    completions: Sequence[str],
    constraints: Sequence[Sequence[Mapping[str, Any]]],
) -> list[float]:
    """1.0 if a response meets all of its constraints, else 0.0."""
    shares = constraints_met(prompts, completions, constraints)
    return [float(share == 1) for share in shares]


def constraints_close(
    prompts: Sequence[str],
    completions: Sequence[str],
    constraints: Sequence[Sequence[Mapping[str, Any]]],
) -> list[float]:
    """Mean over the constraints of how close each response is to meeting them, 0 to 1."""
    return _means(closeness, completions, constraints)


def _means(
    measure: Callable[[str, Mapping[str, Any]], float],
    completions: Sequence[str],
    constraints: Sequence[Sequence[Mapping[str, Any]]],
) -> list[float]:
    """For each response the mean of (response, constraint) -> number over its constraints."""
    return [
        sum(measure(text, constraint) for constraint in asked) / len(asked)
        for text, asked in zip(completions, constraints, strict=True)
    ]
