"""The state of a training loop, from which it resumes exactly."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NotRequired, TypedDict

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import StateDict

from rlhf.errors import CheckpointError
from rlhf.models.shard import gathered, put_optimizer_state, put_weights
from rlhf.training.common.checkpoint import check_same_run, save_checkpoint
from rlhf.training.common.early_stopping import (
    EarlyStopping,
    StoppingState,
    trained_weights,
)

STATE = "state.pt"


class LoopState(TypedDict):
    """The content of state.pt."""

    weights: dict[str, Tensor]  # trained ones
    optimizer: StateDict
    schedule: StateDict
    step: int
    identity: dict[str, object]  # settings that a resumed run has to share
    stopper: StoppingState
    losses: list[float]
    metrics: NotRequired[dict[str, list[float]]]  # of trainers that log more than the loss


def state_of(
    module: nn.Module,
    optimizer: Optimizer,
    schedule: LRScheduler,
    step: int,
    identity: Mapping[str, object],
    stopper: EarlyStopping,
    losses: Sequence[float],
    metrics: Mapping[str, Sequence[float]],
) -> LoopState:
    """The state to save, whole on the first process. Call it on all of them.

    It has no random state: the order of the rows and LoRA's dropout depend only on the seed and
    the step.

    Args:
        module: its trained weights are saved.
        optimizer: AdamW.
        schedule: of the learning rate.
        step: optimizer steps taken.
        identity: settings that a resumed run has to share.
        stopper: early stopping, including its best weights.
        losses: of the steps that are not in a line of metrics yet.
        metrics: the other metrics of these steps, by name.
    """
    return {
        "weights": gathered(trained_weights(module)),
        "optimizer": gathered(optimizer.state_dict()),
        "schedule": schedule.state_dict(),
        "step": step,
        "identity": dict(identity),
        "stopper": stopper.state(),
        "losses": list(losses),
        "metrics": {name: list(values) for name, values in metrics.items()},
    }


def save_state(folder: Path, state: LoopState, *, keep: int) -> Path:
    """Write `folder/checkpoint-N` with the state, atomically; keep the newest `keep`."""

    def write(target: Path) -> None:
        torch.save(state, target / STATE)

    return save_checkpoint(folder, state["step"], write, save_total_limit=keep)


def load_state(
    checkpoint: Path,
    module: nn.Module,
    optimizer: Optimizer,
    schedule: LRScheduler,
    identity: Mapping[str, object],
    stopper: EarlyStopping,
) -> tuple[int, list[float], dict[str, list[float]]]:
    """Restore a `state_of`; return the number of steps taken, `losses` and `metrics`.

    The arguments are those of `state_of`.

    Raises:
        CheckpointError: no such state, or that of a run with other settings.
    """
    try:
        state: LoopState = torch.load(checkpoint / STATE, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"{checkpoint} holds no state of a training run: {error}", code="no-checkpoint"
        ) from error
    check_same_run(checkpoint, state["identity"], identity)
    put_weights(module, state["weights"])
    stopper.restore(state["stopper"])
    put_optimizer_state(optimizer, state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    return int(state["step"]), list(state["losses"]), dict(state.get("metrics", {}))
