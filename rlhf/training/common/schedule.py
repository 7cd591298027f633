"""The rows, the optimizer and the learning rate of each step of a training loop."""

import math

import torch
from torch import nn

from rlhf.training.common.config import TrainingConfig
from rlhf.training.common.optimizer import small_adamw


def batch_rows(step: int, num_rows: int, batch_size: int, seed: int) -> list[int]:
    """The rows of optimizer step `step` (from 0), over all processes.

    Each epoch is another permutation, and a batch may span two epochs.
    """
    places = range(step * batch_size, (step + 1) * batch_size)
    orders = {
        epoch: _permutation(num_rows, seed, epoch) for epoch in {p // num_rows for p in places}
    }
    return [orders[place // num_rows][place % num_rows] for place in places]


def num_steps(config: TrainingConfig, num_rows: int, batch_size: int) -> int:
    """Optimizer steps of the run, including an incomplete last batch."""
    if config.max_steps is not None:
        return config.max_steps
    return max(1, math.ceil(config.num_train_epochs * num_rows / batch_size))


def rate(step: int, *, total: int, warmup_ratio: float) -> float:
    """Share of the peak learning rate: linear warm-up, then linear decay to 0."""
    warmup = math.ceil(total * warmup_ratio)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return (total - step) / max(1, total - warmup)


def make_optimizer(module: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW for the trained parameters, without weight decay on norms and biases."""
    trained = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    used = [group for group in groups if group["params"]]
    if config.optim != "adamw_torch":
        return small_adamw(used, config.optim, lr=config.learning_rate)
    return torch.optim.AdamW(used, lr=config.learning_rate)


def _permutation(num_rows: int, seed: int, epoch: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order: list[int] = torch.randperm(num_rows, generator=generator).tolist()
    return order
