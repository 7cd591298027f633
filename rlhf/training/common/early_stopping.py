"""When a run stops because its held-out loss lies flat or rises, and which weights it keeps."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rlhf.errors import ConfigError

THRESHOLD_HELP = (
    "Share of the held-out loss by which an evaluation has to lower it, or it counts as none."
)


class EarlyStopping:
    """Ends a run at the plateau of its held-out loss.

    The rule: an evaluation is progress where its loss is below (1 - threshold) times that of the
    last progress; after `patience` evaluations in a row without any, the run ends. A loss that
    creeps down by less than the threshold at a time is progress as soon as the steps add up to
    it. Kept are the weights of the lowest loss of all, progress or not.

    patience: None never ends the run and keeps no weights.
    """

    def __init__(self, patience: int | None, threshold: float = 0.0) -> None:
        self.patience, self.threshold = patience, threshold
        self.seen = -1  # step of the last evaluation
        self.lowest = math.inf
        self.step = 0  # of the lowest loss
        self.mark = math.inf  # loss of the last progress
        self.since = 0  # evaluations after it
        self.weights: dict[str, Tensor] = {}

    @property
    def over(self) -> bool:
        """Whether the run is to end."""
        return self.patience is not None and self.since >= self.patience

    def see(self, loss: float, step: int, weights: Mapping[str, Tensor]) -> None:
        """An evaluation: keep its weights where it is the lowest, count it where it is none.

        One of a step that was seen, as a resumed run makes at its start, says nothing new.
        """
        if self.patience is None or step <= self.seen:
            return
        self.seen = step
        if loss < self.lowest:
            self.lowest, self.step = loss, step
            self.weights = {name: weight.clone().cpu() for name, weight in weights.items()}
        if loss < self.mark * (1 - self.threshold):
            self.mark, self.since = loss, 0
        else:
            self.since += 1

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        names = ("seen", "lowest", "step", "mark", "since", "weights")
        return {name: getattr(self, name) for name in names}

    def restore(self, state: Mapping[str, Any]) -> None:
        """As `state` saw it."""
        self.seen = int(state["seen"])
        self.lowest, self.step = float(state["lowest"]), int(state["step"])
        self.mark, self.since = float(state["mark"]), int(state["since"])
        self.weights = dict(state["weights"])


def check_early_stopping(patience: int | None, threshold: float) -> None:
    """Refuse what is no patience and no share.

    Raises:
        ConfigError: the key and what it may be.
    """
    if patience is not None and patience < 1:
        raise ConfigError(f"early_stopping_patience={patience}; use 1 or more.")
    if not 0 <= threshold < 1:
        raise ConfigError(
            f"early_stopping_threshold={threshold} is no share of a loss; use 0 to below 1."
        )


def trained_weights(module: nn.Module) -> dict[str, Tensor]:
    """What training changes, by name; the tensors themselves, no copies."""
    return {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}


def put_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy them into the module, in place."""
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for name, weight in weights.items():
            parameters[name].copy_(weight)
