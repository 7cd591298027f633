"""Early stopping: when the held-out loss stops falling, and which weights are kept."""

import math
from collections.abc import Mapping
from typing import TypedDict

import torch
from torch import Tensor, nn


class StoppingState(TypedDict):
    """The state of early stopping in a checkpoint; see `EarlyStopping` for the values."""

    seen: int  # step of the last evaluation
    lowest: float
    step: int
    mark: float
    since: int
    weights: dict[str, Tensor]


class EarlyStopping:
    """Ends a run at the plateau of its held-out loss.

    An evaluation is progress if its loss is below (1 - threshold) times the loss of the last
    progress. The run ends after `patience` evaluations in a row without progress. Falls below the
    threshold are progress as soon as they add up to it. The weights of the lowest loss are kept,
    progress or not.

    patience: None never ends the run and keeps no weights.
    """

    def __init__(self, patience: int | None, threshold: float = 0.0) -> None:
        self.patience, self.threshold = patience, threshold
        self.last = -1  # step of the last evaluation
        self.lowest = math.inf
        self.step = 0  # of the lowest loss
        self.mark = math.inf  # loss of the last progress
        self.since = 0  # evaluations after it
        self.weights: dict[str, Tensor] = {}

    @property
    def over(self) -> bool:
        """Whether the run has to end."""
        return self.patience is not None and self.since >= self.patience

    @property
    def reason(self) -> str:
        """Why the run ends early; empty where it does not."""
        return "the held-out loss stopped falling" if self.over else ""

    def update(self, loss: float, step: int, weights: Mapping[str, Tensor]) -> None:
        """Take in an evaluation; keep its weights if its loss is the lowest.

        A resumed run evaluates a known step at its start, which is ignored.
        """
        if self.patience is None or step <= self.last:
            return
        self.last = step
        if loss < self.lowest:
            self.lowest, self.step = loss, step
            self.weights = {name: weight.clone().cpu() for name, weight in weights.items()}
        if loss < self.mark * (1 - self.threshold):
            self.mark, self.since = loss, 0
        else:
            self.since += 1

    def state(self) -> StoppingState:
        """The state, for a checkpoint."""
        return {
            "seen": self.last,
            "lowest": self.lowest,
            "step": self.step,
            "mark": self.mark,
            "since": self.since,
            "weights": self.weights,
        }

    def restore(self, state: StoppingState) -> None:
        """Restore a `state`."""
        self.last = int(state["seen"])
        self.lowest, self.step = float(state["lowest"]), int(state["step"])
        self.mark, self.since = float(state["mark"]), int(state["since"])
        self.weights = dict(state["weights"])


def trained_weights(module: nn.Module) -> dict[str, Tensor]:
    """The trained parameters by name; the tensors themselves, not copies."""
    return {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}


def put_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy weights into the module, in place."""
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for name, weight in weights.items():
            parameters[name].copy_(weight)
