"""What the training loop trains: an objective with rows, a loss, and an evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

Row = TypeVar("Row")


@dataclass(frozen=True, kw_only=True)
class BatchLoss:
    """The loss of some rows and metrics of them, as weighted sums over the rows."""

    loss: Tensor  # scalar with a gradient
    weight: float = 1.0  # sum of the rows' weights, by which a mean metric divides
    sums: Mapping[str, Tensor] = field(default_factory=dict)  # name of a metric -> scalar


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """An evaluation on held-out rows."""

    loss: float  # early stopping compares it
    metrics: Mapping[str, float]  # as in metrics.jsonl
    text: str  # for the terminal


class Objective(Protocol[Row]):
    """What a loop trains, on which rows and by which loss."""

    @property
    def name(self) -> str:
        """Name of the trained model, for messages."""

    @property
    def module(self) -> nn.Module:
        """The module whose forward pass DDP wraps; it returns outputs with a gradient."""

    @property
    def model(self) -> PreTrainedModel | PeftModel:
        """The model in `module`."""

    @property
    def rows(self) -> Sequence[Row]:
        """Elements of batches."""

    @property
    def mean_weight(self) -> float:
        """Mean weight of a row in the loss."""

    def shard(self, device: torch.device) -> nn.Module | None:
        """The module with its weights in shards, as training calls it; None for whole weights."""

    def unshard(self) -> None:
        """Called on all processes after the last step of a sharded module: make it whole again."""

    def identity(self) -> dict[str, object]:
        """Settings of rows and loss that a resumed run has to share."""

    def start_step(self, rows: Sequence[Row]) -> None:
        """Called on all processes with their rows of a step, before the loss of any of them."""

    def loss(self, module: nn.Module, rows: Sequence[Row]) -> BatchLoss:
        """The loss of rows; module: `self.module`, maybe in DDP. Reads every response once."""

    def evaluate(self) -> HeldOut | None:
        """Measure held-out rows, on all processes together; None if there are none."""

    def weights_change(self) -> None:
        """Called before the weights change: forget what was computed with them."""

    def prompt_of(self, row: Row) -> str:
        """The prompt of a row, for messages."""
