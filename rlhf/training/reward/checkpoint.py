"""The state of a reward-model run: what it needs to go on exactly where it was."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from rlhf.errors import CheckpointError
from rlhf.training.common.checkpoint import check_same_run, save_checkpoint
from rlhf.training.common.early_stopping import EarlyStopping, put_weights, trained_weights

STATE = "state.pt"


def state_of(
    scorer: nn.Module,
    optimizer: Optimizer,
    schedule: LRScheduler,
    step: int,
    identity: Mapping[str, object],
    stopper: EarlyStopping,
    losses: Sequence[float],
) -> dict[str, Any]:
    """Trained weights, AdamW, schedule, steps taken, and what makes the run this one.

    Beside them what early stopping has seen, its best weights included, and the losses of the
    steps that no line of metrics holds yet.

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
        "losses": list(losses),
    }


def save_state(folder: Path, state: Mapping[str, Any], *, keep: int) -> Path:
    """`folder/checkpoint-N` with the state, whole or not there; the newest `keep` stay."""

    def write(into: Path) -> None:
        torch.save(state, into / STATE)

    return save_checkpoint(folder, state["step"], write, save_total_limit=keep)


def load_state(
    checkpoint: Path,
    scorer: nn.Module,
    optimizer: Optimizer,
    schedule: LRScheduler,
    identity: Mapping[str, object],
    stopper: EarlyStopping,
) -> tuple[int, list[float]]:
    """Put everything back as `state_of` saw it; the number of steps taken, and `losses`.

    Raises:
        CheckpointError: no such state, or one of a run whose steps would not be these.
    """
    try:
        state = torch.load(checkpoint / STATE, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"{checkpoint} holds no state of a reward model: {error}") from error
    check_same_run(checkpoint, state["identity"], identity)
    put_weights(scorer, state["weights"])
    stopper.restore(state["stopper"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    return int(state["step"]), list(state["losses"])
