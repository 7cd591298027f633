"""Rated responses as token ids, and the scale of each axis."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlhf.data.rows.parse_rated import CORRECT
from rlhf.data.rows.split import group_key
from rlhf.data.tokenization.chat import judged_once
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import DataError
from rlhf.models.axes import Axis
from rlhf.types import Prompt, RatedResponse


@dataclass(frozen=True, kw_only=True)
class TokenRating:
    """A rated response as token ids."""

    prompt: Prompt
    group: str  # of the prompt; responses to it are not independent
    ids: tuple[int, ...]  # the prompt and the response, for a reward model
    labels: tuple[float, ...]  # of each axis, in units of its head; NaN without a rating

    @property
    def rated(self) -> int:
        """The number of ratings."""
        return sum(not math.isnan(label) for label in self.labels)


def axis_scales(rows: Sequence[RatedResponse], weights: Mapping[str, float]) -> list[Axis]:
    """The axes with mean and standard deviation of their ratings in `rows`.

    Raises:
        DataError: an axis without a rating, or with one value only: no response differs on it.
    """
    axes = []
    for name, weight in weights.items():
        values = [row.ratings[name] for row in rows if name in row.ratings]
        if len(set(values)) < 2:
            found = f"all {len(values)} are {values[0]:g}" if values else "there is none"
            raise DataError(
                f"the training ratings of {name} do not differ ({found}), so nothing can be "
                f"learned from them; leave {name} out of axis_weights.",
                code="no-rows",
            )
        mean = sum(values) / len(values)
        std = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
        axes.append(Axis(name=name, weight=weight, mean=mean, std=std))
    return axes


def outcome_axis(rows: Sequence[RatedResponse]) -> list[Axis]:
    """The one axis of verdicts, whose labels stay 1 and 0.

    Raises:
        DataError: all verdicts are the same.
    """
    values = {row.ratings[CORRECT] for row in rows}
    if len(values) < 2:
        kind = "correct" if 1.0 in values else "wrong"
        raise DataError(
            f"all {len(rows)} training responses are {kind}, so nothing tells correct from wrong "
            "ones; add responses of the other kind.",
            code="no-rows",
        )
    return [Axis(name=CORRECT)]


def tokenize(
    chat: ChatTokenizer, rows: Sequence[RatedResponse], axes: Sequence[Axis]
) -> list[TokenRating]:
    """Rated responses as token ids, rendered as for every reward model."""
    ids_of = judged_once(chat)
    return [
        TokenRating(
            prompt=row.prompt,
            group=group_key(row),
            ids=tuple(ids_of(row.prompt, row.completion, row.tools)),
            labels=tuple(
                (row.ratings.get(axis.name, math.nan) - axis.mean) / axis.std for axis in axes
            ),
        )
        for row in rows
    ]


def labels_of(rows: Sequence[TokenRating]) -> Tensor:
    """The labels of the responses, float [B, A]; NaN without a rating."""
    return torch.tensor([row.labels for row in rows])
