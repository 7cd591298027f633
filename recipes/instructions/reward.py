"""Rewards: the share of a prompt's constraints that a response meets, and how close it is to it."""

import sys
from collections.abc import Mapping, Sequence
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
    return [
        sum(is_met(text, constraint) for constraint in asked) / len(asked)
        for text, asked in zip(completions, constraints, strict=True)
    ]


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
    return [
        sum(closeness(text, constraint) for constraint in asked) / len(asked)
        for text, asked in zip(completions, constraints, strict=True)
    ]
