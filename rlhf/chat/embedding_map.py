"""Meaning as a plane: tokens or texts laid out by a model's embeddings, and an answer's way."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rlhf.chat.conversation import encode
from rlhf.chat.introspection import as_text
from rlhf.chat.loading import ChatModel
from rlhf.errors import DataError

MOST_POINTS = 600  # tokens of the background


@dataclass(frozen=True, kw_only=True)
class Point:
    """A name and its place."""

    text: str
    x: float
    y: float


@dataclass(frozen=True, kw_only=True)
class Plane:
    """Points of the background, an answer's way over them, and how much of it all is seen."""

    points: Sequence[Point]
    path: Sequence[Point]
    explained: float  # share of the background's variance that the two axes hold


def token_plane(model: ChatModel, answer: Sequence[int]) -> Plane:
    """Input embeddings of tokens, evenly over the vocabulary, and those of the answer in turn."""
    weight: Tensor = model.model.get_input_embeddings().weight.detach().float().cpu()
    used = min(len(weight), len(model.chat.tokenizer))
    shown = torch.linspace(0, used - 1, min(used, MOST_POINTS), dtype=torch.float64).long()
    center, axes, explained = principal_axes(weight[:used])
    names = [as_text(model, token).text for token in shown.tolist()]
    way = [as_text(model, token).text for token in answer]
    background = _project(weight[shown], center, axes)
    path = _project(weight[torch.tensor(list(answer), dtype=torch.long)], center, axes)
    return Plane(points=_points(names, background), path=_points(way, path), explained=explained)


def text_plane(model: ChatModel, texts: Sequence[str], answer: Sequence[int]) -> Plane:
    """Prompts by the mean of their last hidden states; the way of an answer to the last one, token
    by token, as the mean of everything up to there.

    Raises:
        DataError: fewer than three different prompts, which always lie on a line.
    """
    if len(set(texts)) < 3:
        raise DataError("a plane takes three different prompts; write one a line.")
    prompts = [encode(model, [{"role": "user", "content": text}]) for text in texts]
    states = [_hidden(model, ids) for ids in prompts]
    matrix = torch.stack([state.mean(0) for state in states])
    center, axes, explained = principal_axes(matrix)
    path = torch.zeros(0, matrix.shape[1])
    if answer:
        whole = _hidden(model, [*prompts[-1], *answer])
        counts = torch.arange(1, len(whole) + 1)[:, None]
        path = (whole.cumsum(0) / counts)[-len(answer) :]
    way = [as_text(model, token).text for token in answer]
    return Plane(
        points=_points(texts, _project(matrix, center, axes)),
        path=_points(way, _project(path, center, axes)),
        explained=explained,
    )


def principal_axes(matrix: Tensor) -> tuple[Tensor, Tensor, float]:
    """Mean [D], the two directions of most variance [D, 2], and their share of all variance.

    matrix: float [N, D]. Eigenvectors of the covariance; their sign, which is free, is such that
    the largest component is positive: the same model gives the same picture.
    """
    center = matrix.mean(0)
    centered = (matrix - center).double()
    values, vectors = torch.linalg.eigh(centered.T @ centered)
    axes = vectors[:, [-1, -2]]
    signs = axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    total = float(values.sum())
    explained = float(values[-2:].sum()) / total if total > 0 else 0.0
    return center, (axes * signs).float(), explained


@torch.no_grad()
def _hidden(model: ChatModel, ids: Sequence[int]) -> Tensor:
    """Last hidden states, float32 [T, D] on the CPU."""
    policy: Any = model.model
    tensor = torch.tensor([list(ids)], device=policy.device)
    output = policy.base_model(input_ids=tensor, use_cache=False)
    states: Tensor = output.last_hidden_state[0].float().cpu()
    return states


def _project(matrix: Tensor, center: Tensor, axes: Tensor) -> Tensor:
    return (matrix - center) @ axes


def _points(names: Sequence[str], places: Tensor) -> list[Point]:
    return [
        Point(text=name, x=float(x), y=float(y))
        for name, (x, y) in zip(names, places.tolist(), strict=True)
    ]
