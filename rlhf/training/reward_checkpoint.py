"""The state of a reward-model run: what it needs to go on exactly where it was."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rlhf.errors import CheckpointError
from rlhf.training.checkpoint import refuse_another_run, save_checkpoint

STATE = "state.pt"


class EarlyStopping:
    """The lowest held-out loss so far, the weights that gave it, and how long ago that was.

    patience: evaluations without a lower loss after which the run ends; None never ends it and
    keeps no weights.
    """

    def __init__(self, patience: int | None) -> None:
        self.patience = patience
        self.lowest = math.inf
        self.step = 0  # of the lowest loss
        self.since = 0  # evaluations after it
        self.weights: dict[str, Tensor] = {}

    @property
    def over(self) -> bool:
        """Whether the run is to end."""
        return self.patience is not None and self.since >= self.patience

    def see(self, loss: float, step: int, weights: Mapping[str, Tensor]) -> None:
        """An evaluation: remember it where it is the best, count it where it is not."""
        if self.patience is None:
            return
        if loss < self.lowest:
            self.lowest, self.step, self.since = loss, step, 0
            self.weights = {name: weight.clone().cpu() for name, weight in weights.items()}
        else:
            self.since += 1

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        seen = {"lowest": self.lowest, "step": self.step, "since": self.since}
        return {**seen, "weights": self.weights}

    def restore(self, state: Mapping[str, Any]) -> None:
        """As `state` saw it."""
        self.lowest, self.step = float(state["lowest"]), int(state["step"])
        self.since, self.weights = int(state["since"]), dict(state["weights"])


def trained_weights(scorer: nn.Module) -> dict[str, Tensor]:
    """What training changes, by name; the tensors themselves, no copies."""
    return {name: p.detach() for name, p in scorer.named_parameters() if p.requires_grad}


def put_weights(scorer: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy them into the scorer, in place."""
    parameters = dict(scorer.named_parameters())
    with torch.no_grad():
        for name, weight in weights.items():
            parameters[name].copy_(weight)


def state_of(
    scorer: nn.Module,
    optimizer: Any,
    schedule: Any,
    step: int,
    identity: Mapping[str, Any],
    stopper: EarlyStopping,
) -> dict[str, Any]:
    """Trained weights, AdamW, schedule, steps taken, and what makes the run this one.

    Beside them what early stopping has seen, its best weights included.

    There is no random state in it: dropout is 0 and the order of the rows depends on the seed
    and the step alone.
    """
    return {
        "weights": trained_weights(scorer),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "step": step,
        "identity": dict(identity),
        "stopper": stopper.state(),
    }


def save_state(folder: Path, state: Mapping[str, Any], *, keep: int) -> Path:
    """`folder/checkpoint-N` with the state, whole or not there; the newest `keep` stay."""

    def write(into: Path) -> None:
        torch.save(state, into / STATE)

    return save_checkpoint(folder, state["step"], write, save_total_limit=keep)


def load_state(
    checkpoint: Path,
    scorer: nn.Module,
    optimizer: Any,
    schedule: Any,
    identity: Mapping[str, Any],
    stopper: EarlyStopping,
) -> int:
    """Put everything back as `state_of` saw it; returns the number of steps taken.

    Raises:
        CheckpointError: no such state, or one of a run whose steps would not be these.
    """
    try:
        state = torch.load(checkpoint / STATE, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"{checkpoint} holds no state of a reward model: {error}") from error
    refuse_another_run(checkpoint, state["identity"], identity)
    put_weights(scorer, state["weights"])
    stopper.restore(state["stopper"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    return int(state["step"])
