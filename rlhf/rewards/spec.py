"""What a user names as a reward, parsed once: `WEIGHT*SOURCE`, a callable, a reward model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, Union

from rlhf.data.rows.sources import split_weight
from rlhf.errors import ConfigError
from rlhf.rewards.function import RewardFunction, is_generative, load_function
from rlhf.rewards.kinds import SourceKind, kind_of, runs_code

if TYPE_CHECKING:
    from rlhf.rewards.model import RewardModel


@dataclass(frozen=True)
class RewardSpec:
    """One source of the reward and its weight.

    Raises:
        ConfigError: a source that `RewardLike` does not list, a weight that is not a finite number,
            or a label that is not a text.
    """

    source: str | RewardFunction | RewardModel
    weight: float = 1.0
    label: str = ""  # what to call it, where its own name would be ambiguous

    def __post_init__(self) -> None:
        source: object = self.source
        if isinstance(source, Path):
            object.__setattr__(self, "source", str(source))
        else:
            _check_source(source)
        weight: object = self.weight
        is_number = isinstance(weight, Real) and not isinstance(weight, bool)
        if not is_number or not math.isfinite(self.weight):
            raise ConfigError(
                f"the reward's weight={weight!r}; use a finite number.", code="bad-value"
            )
        if not isinstance(self.label, str):
            raise ConfigError(f"the reward's label={self.label!r}; use a text.", code="bad-value")

    @property
    def name(self) -> str:
        """What metrics and messages call the source: its path, or the function's name."""
        if self.label:
            return self.label
        if isinstance(self.source, str):
            return self.source
        if _is_model(self.source):
            return self.source.path
        return str(getattr(self.source, "__name__", type(self.source).__name__))

    @property
    def kind(self) -> SourceKind:
        """Whether the source is a model, a function, a server, a judge or a verifier."""
        if isinstance(self.source, str):
            return kind_of(self.source)
        return "model" if _is_model(self.source) else "function"

    @property
    def text(self) -> str | None:
        """`WEIGHT*SOURCE` of a source with a name or path; None for a Python function."""
        source = self.source if isinstance(self.source, str) else self.path
        if source is None or self.weight == 1:
            return source
        return f"{self.weight}*{source}"

    @property
    def path(self) -> str | None:
        """The reward model's folder or hub id; None for any other source."""
        if isinstance(self.source, str):
            return self.source if self.is_model else None
        return self.source.path if _is_model(self.source) else None

    @property
    def language_model(self) -> str | None:
        """The language model of a generative reward model's file; None for any other source.

        Raises:
            ConfigError: the file cannot be read, or a key cannot be used.
        """
        if not isinstance(self.source, str) or not is_generative(self.source):
            return None
        from rlhf.rewards.rubric import read_generative  # few runs have such a reward

        return read_generative(self.source).model

    @property
    def is_function(self) -> bool:
        """Whether the source is a function, given itself, as `file.py:function` or as YAML."""
        return self.kind == "function"

    @property
    def is_model(self) -> bool:
        """Whether the source is a reward model, given itself or by folder or hub id."""
        return self.kind == "model"

    @property
    def runs_code(self) -> bool:
        """Whether the source runs programs that the policy writes."""
        return isinstance(self.source, str) and runs_code(self.source)

    def function(self) -> RewardFunction:
        """The function, loaded where the source names one.

        Raises:
            ConfigError: no such file, an error in it, no such function.
        """
        if isinstance(self.source, str):
            return load_function(self.source)
        assert callable(self.source)
        return self.source


RewardLike: TypeAlias = Union[str, Path, RewardFunction, "RewardModel", RewardSpec]
"""A reward model's folder or hub id, `file.py:function`, the YAML file of a generative reward
model, a server's address, `judge:FILE.yaml` or `verifier:NAME`, each also as `WEIGHT*SOURCE`; a
Python function in TRL's signature, async or not; a loaded reward model; a spec."""


def parse_reward(reward: RewardLike) -> RewardSpec:
    """The spec of one reward.

    Raises:
        ConfigError: the value is none of what `RewardLike` lists.
    """
    if isinstance(reward, RewardSpec):
        return reward
    if isinstance(reward, str | Path):
        weight, source = split_weight(str(reward))
        return RewardSpec(source, weight)
    return RewardSpec(reward)


def _is_model(source: object) -> TypeGuard[RewardModel]:
    """Whether the source is a loaded reward model. Ask only about sources that are no names."""
    from rlhf.rewards.model import RewardModel  # takes seconds, which a name does not need

    return isinstance(source, RewardModel)


def _check_source(source: object) -> None:
    """Check that a reward names or is a model or function; raises `ConfigError` otherwise."""
    if source and isinstance(source, str):
        return
    from torch import nn  # takes a second, which a name does not need

    if isinstance(source, nn.Module):  # callable too, but it reads ids
        raise ConfigError(
            f"reward is a loaded {type(source).__name__}; save it with its tokenizer, and give the "
            "folder or RewardModel(folder).",
            code="bad-reward",
        )
    if _is_model(source) or callable(source):
        return
    raise ConfigError(
        f"reward={source!r} has type {type(source).__name__}; use a reward model's folder or hub "
        "id, file.py:function, an address, judge:FILE.yaml, verifier:NAME, a Python function or a "
        "RewardModel.",
        code="bad-reward",
    )


def parse_rewards(
    rewards: RewardLike | Sequence[RewardLike], *, optional: bool = False
) -> list[RewardSpec]:
    """The specs of one reward or of several, whose weighted sum is the score.

    Args:
        rewards: what the user named.
        optional: whether there may be none.

    Raises:
        ConfigError: no reward, one named twice, a value that is not a reward.
    """
    several: Sequence[Any] = rewards if isinstance(rewards, list | tuple) else [rewards]
    specs = _with_distinct_names([parse_reward(reward) for reward in several])
    names = [spec.name for spec in specs]
    if not names and optional:
        return []
    if not names or len(set(names)) < len(names):
        raise ConfigError(
            f"reward={names} names {'a source twice' if names else 'no source'}; give each reward "
            "model or function once.",
            code="bad-reward",
        )
    return specs


def _with_distinct_names(specs: Sequence[RewardSpec]) -> list[RewardSpec]:
    """The specs, functions of one name (such as two lambdas) numbered."""
    names = [spec.name for spec in specs]
    return [
        replace(spec, label=f"{spec.name} {names[:place].count(spec.name) + 1}")
        if names.count(spec.name) > 1 and spec.is_function and not isinstance(spec.source, str)
        else spec
        for place, spec in enumerate(specs)
    ]
