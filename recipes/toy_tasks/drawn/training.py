"""Training of stacked networks: on demonstrations, then on rankings as `rlhf reward` does."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from recipes.toy_tasks.drawn.network import (
    Params,
    Rows,
    Score,
    language_loss,
    new_networks,
    rewards,
)
from rlhf.training.common.schedule import rate

CHUNK = 512  # rows of each network that are read at once


@dataclass(frozen=True, kw_only=True)
class Training:
    """Keys of `rlhf reward`, and the decay of averaged weights."""

    epochs: float = 4.0
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    label_smoothing: float = 0.0
    loss_type: Literal["bradley_terry", "plackett_luce"] = "bradley_terry"
    responses_per_step: int = 64
    average_decay: float = 0.98
    evaluations_per_epoch: int = 2


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Weights at a step, and averaged over the steps before it, with their held-out losses."""

    epoch: float
    weights: Params
    average: Params
    loss: Tensor  # float [M], Bradley-Terry or Plackett-Luce loss of held-out rankings
    average_loss: Tensor  # float [M]


def train_on_demonstrations(rows: Rows, *, epochs: int, seed: int) -> dict[str, Tensor]:
    """Language models of rows [M, N], one network for each M."""
    params = new_networks(len(rows.ids), seed)
    keys = Training(epochs=epochs, weight_decay=0.0)

    def loss(index: Tensor) -> Tensor:
        return language_loss(params, _take(rows, index))

    deque(_steps(params, loss, rows.ids.shape[1], keys.responses_per_step, keys, seed), maxlen=0)
    return params


def train_on_rankings(
    params: Params,
    train: Rows,
    held_out: Rows,
    keys: Training,
    *,
    seed: int,
    score: Score = rewards,
) -> list[Snapshot]:
    """Reward models from rankings [M, N, K], the best first; snapshots at every evaluation.

    Args:
        params: weights to start from; they are not changed.
        train: rankings to train on.
        held_out: rankings to evaluate on.
        keys: of the training.
        seed: of the order of rankings, which differs between networks.
        score: the reward of a row.
    """
    params = {name: weight.clone() for name, weight in params.items()}
    average = {name: weight.clone() for name, weight in params.items()}
    size, choices = train.ids.shape[1:3]
    batch = max(1, keys.responses_per_step // choices)
    per_epoch = math.ceil(size / batch)
    every = max(1, per_epoch // keys.evaluations_per_epoch)
    last = num_steps(keys, size, batch)

    def loss(index: Tensor) -> Tensor:
        return ranking_losses(_scores(params, _take(train, index), score), keys).mean(dim=1)

    snapshots = []
    for step in _steps(params, loss, size, batch, keys, seed):
        decay = min(keys.average_decay, step / (step + 10))  # the start is soon forgotten
        for name, weight in params.items():
            average[name].lerp_(weight.detach(), 1 - decay)
        if step % every == 0 or step == last:
            kept = {name: weight.detach().clone() for name, weight in params.items()}
            kept_average = {name: weight.clone() for name, weight in average.items()}
            snapshots.append(
                Snapshot(
                    epoch=step * batch / size,
                    weights=kept,
                    average=kept_average,
                    loss=held_out_loss(kept, held_out, keys, score),
                    average_loss=held_out_loss(kept_average, held_out, keys, score),
                )
            )
    return snapshots


def ranking_losses(scores: Tensor, keys: Training) -> Tensor:
    """float [...]: the loss of rankings with these scores [..., K], the best first.

    The formulas of rlhf/ops/ranking.py for rankings without ties.
    """
    places = range(scores.shape[-1])
    if keys.loss_type == "plackett_luce":
        parts = [scores[..., i:].logsumexp(dim=-1) - scores[..., i] for i in places[:-1]]
        return torch.stack(parts).mean(dim=0)
    pairs = list(combinations(places, 2))
    better, worse = ([pair[side] for pair in pairs] for side in (0, 1))
    d = scores[..., better] - scores[..., worse]
    share = keys.label_smoothing
    return ((1 - share) * F.softplus(-d) + share * F.softplus(d)).mean(dim=-1)


@torch.no_grad()
def held_out_loss(params: Params, rows: Rows, keys: Training, score: Score = rewards) -> Tensor:
    """float [M]: mean loss of held-out rankings [M, N, K], without label smoothing."""
    scores = _scores(params, rows, score)
    return ranking_losses(scores, replace(keys, label_smoothing=0.0)).mean(dim=1)


@torch.no_grad()
def read_rewards(params: Params, rows: Rows, score: Score = rewards) -> Tensor:
    """float [M, N]: rewards of rows [M, N], in chunks."""
    ids, ends = torch.split(rows.ids, CHUNK, dim=1), torch.split(rows.ends, CHUNK, dim=1)
    parts = [
        score(params, Rows(ids=some_ids, ends=some_ends))
        for some_ids, some_ends in zip(ids, ends, strict=True)
    ]
    return torch.cat(parts, dim=1)


def repeated(params: Params, times: int) -> dict[str, Tensor]:
    """The networks, each `times` times in a row."""
    return {name: weight.repeat_interleave(times, dim=0) for name, weight in params.items()}


def chosen(snapshots: Sequence[Params], index: Tensor) -> dict[str, Tensor]:
    """For each network m the weights of snapshot index[m], long [M]."""
    networks = torch.arange(len(index))
    return {
        name: torch.stack([weights[name] for weights in snapshots])[index, networks]
        for name in snapshots[0]
    }


def _scores(params: Params, rows: Rows, score: Score) -> Tensor:
    """float [M, N, K] of rankings [M, N, K]."""
    flat = Rows(ids=rows.ids.flatten(1, 2), ends=rows.ends.flatten(1, 2))
    return score(params, flat).view(rows.ends.shape)


def _take(rows: Rows, index: Tensor) -> Rows:
    """Rows [M, b, ...] at index [M, b]."""
    networks = torch.arange(len(index))[:, None]
    return Rows(ids=rows.ids[networks, index], ends=rows.ends[networks, index])


def num_steps(keys: Training, size: int, batch: int) -> int:
    """Optimizer steps of a training on `size` rows."""
    return math.ceil(keys.epochs * size / batch)


def _steps(
    params: Mapping[str, Tensor],
    loss: Callable[[Tensor], Tensor],
    size: int,
    batch: int,
    keys: Training,
    seed: int,
) -> Iterator[int]:
    """Train in place: AdamW, warm-up, linear decay, clipping by network; yields each step's number.

    loss: float [M] of the rows at an index [M, b]; each network has its own order of the rows.
    """
    for weight in params.values():
        weight.requires_grad_(True)
    decayed = [name for name in params if "norm" not in name]
    groups = [
        {"params": [params[name] for name in decayed], "weight_decay": keys.weight_decay},
        {"params": [params[n] for n in params if n not in decayed], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=keys.learning_rate)
    last = num_steps(keys, size, batch)
    generator = torch.Generator().manual_seed(seed)
    orders = torch.empty(len(params["tokens"]), 0, dtype=torch.long)
    for step in range(last):
        while orders.shape[1] < batch:  # a batch may span two epochs
            noise = torch.rand(len(orders), size, generator=generator)
            orders = torch.cat([orders, noise.argsort(dim=1)], dim=1)
        index, orders = orders[:, :batch], orders[:, batch:]
        optimizer.zero_grad()
        torch.autograd.backward(loss(index).sum())
        _clip(params)
        for group in optimizer.param_groups:
            group["lr"] = keys.learning_rate * rate(step, total=last, warmup_ratio=0.05)
        optimizer.step()
        yield step + 1
    for weight in params.values():
        weight.requires_grad_(False)


def _clip(params: Params) -> None:
    """Scale each network's gradient to a norm of at most 1."""
    gradients = [weight.grad for weight in params.values() if weight.grad is not None]
    norms = torch.stack([g.flatten(1).square().sum(dim=1) for g in gradients]).sum(dim=0).sqrt()
    scales = (1 / norms.clamp(min=1e-12)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scales.view(-1, *[1] * (gradient.ndim - 1)))
