"""Tokens or prompts on the two principal axes of a model's embeddings, with a response's path."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlhf.chat.introspection import token_text
from rlhf.chat.loading import LoadedModel
from rlhf.chat.prompt import encode_prompt
from rlhf.errors import DataError

MAX_POINTS = 600  # tokens of the background


@dataclass(frozen=True, kw_only=True)
class MapPoint:
    """A text and its coordinates."""

    text: str
    x: float
    y: float


@dataclass(frozen=True, kw_only=True)
class EmbeddingMap:
    """Points of the background, and the path of a response over them."""

    points: Sequence[MapPoint]
    path: Sequence[MapPoint]
    explained: float  # share of the background's variance on the two axes


def token_map(model: LoadedModel, response: Sequence[int]) -> EmbeddingMap:
    """Input embeddings of tokens, evenly over the vocabulary, and of the response's tokens."""
    embeddings = model.model.get_input_embeddings()
    weight = embeddings.get_parameter("weight").detach().float().cpu()
    used = min(len(weight), len(model.chat.tokenizer))
    tokens = torch.linspace(0, used - 1, min(used, MAX_POINTS), dtype=torch.float64).long()
    center, axes, explained = principal_axes(weight[:used])
    background = _project(weight[tokens], center, axes)
    path = _project(weight[torch.tensor(list(response), dtype=torch.long)], center, axes)
    return EmbeddingMap(
        points=_points([token_text(model, token).text for token in tokens.tolist()], background),
        path=_points([token_text(model, token).text for token in response], path),
        explained=explained,
    )


def text_map(model: LoadedModel, prompts: Sequence[str], response: Sequence[int]) -> EmbeddingMap:
    """Prompts by the mean of their last hidden states, and the path of a response to the last one.

    Each point of the path is the mean over the prompt and the response up to that token.

    Raises:
        DataError: fewer than three different prompts, which always lie on a line.
    """
    if len(set(prompts)) < 3:
        raise DataError(
            "the map needs three different prompts; give one per line.", code="bad-value"
        )
    ids = [encode_prompt(model, [{"role": "user", "content": text}]) for text in prompts]
    means = torch.stack([hidden_states(model, of_prompt).mean(0) for of_prompt in ids])
    center, axes, explained = principal_axes(means)
    path = torch.zeros(0, means.shape[1])
    if response:
        states = hidden_states(model, [*ids[-1], *response])
        counts = torch.arange(1, len(states) + 1)[:, None]
        path = (states.cumsum(0) / counts)[-len(response) :]
    names = [token_text(model, token).text for token in response]
    return EmbeddingMap(
        points=_points(prompts, _project(means, center, axes)),
        path=_points(names, _project(path, center, axes)),
        explained=explained,
    )


def principal_axes(matrix: Tensor) -> tuple[Tensor, Tensor, float]:
    """Mean [D], the two directions of most variance [D, 2], and their share of the variance.

    matrix: float [N, D]. The axes are eigenvectors of the covariance. Their sign is arbitrary and
    is chosen such that the largest component is positive: the same model gives the same picture.
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
def hidden_states(model: LoadedModel, ids: Sequence[int]) -> Tensor:
    """Last hidden states, float32 [T, D] on the CPU."""
    tensor = torch.tensor([list(ids)], device=model.model.device)
    output = model.model.base_model(input_ids=tensor, use_cache=False)
    states: Tensor = output.last_hidden_state[0].float().cpu()
    return states


def _project(matrix: Tensor, center: Tensor, axes: Tensor) -> Tensor:
    return (matrix - center) @ axes


def _points(names: Sequence[str], coordinates: Tensor) -> list[MapPoint]:
    return [
        MapPoint(text=name, x=float(x), y=float(y))
        for name, (x, y) in zip(names, coordinates.tolist(), strict=True)
    ]
