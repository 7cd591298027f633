"""The state of a reward-model run, from which it resumes exactly."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import StateDict

from rlhf.errors import CheckpointError
from rlhf.manifest import hash_text
from rlhf.models.config import step_keys
from rlhf.models.shard import gathered, put_optimizer_state, put_weights
from rlhf.training.common.checkpoint import check_same_run, save_checkpoint
from rlhf.training.common.early_stopping import (
    EarlyStopping,
    StoppingState,
    trained_weights,
)
from rlhf.training.reward.config import LOSS_KEYS
from rlhf.training.reward.data import TokenRanking
from rlhf.training.reward.setup import RewardSetup

STATE = "state.pt"


class RewardState(TypedDict):
    """The content of state.pt."""

    weights: dict[str, Tensor]  # trained ones
    optimizer: StateDict
    schedule: StateDict
    step: int
    identity: dict[str, object]  # settings that a resumed run has to share
    stopper: StoppingState
    losses: list[float]


def identity_of(
    setup: RewardSetup, rankings: Sequence[TokenRanking], *, batch_size: int, total: int
) -> dict[str, object]:
    """Settings that a resumed run has to share with the run that wrote the checkpoint.

    Args:
        setup: the run.
        rankings: to train on, with weights.
        batch_size: prompts of an optimizer step, over all processes.
        total: optimizer steps.
    """
    # A hash of the rankings' hashes: all tokens as one text could be gigabytes.
    hashes = "".join(hash_text(repr((row.group, row.ids, row.ranks))) for row in rankings)
    return {
        "seed": setup.run.seed,
        "batch_size": batch_size,
        "total": total,
        "data_sha256": setup.uses[0].sha256 if setup.uses else "",
        "rankings of sha256": hash_text(hashes),
        "weights": hash_text(repr([row.weights for row in rankings])),
        **{key: getattr(setup.config, key) for key in LOSS_KEYS},
        **step_keys(setup.model, setup.config.optim),
    }


def state_of(
    scorer: nn.Module,
    optimizer: Optimizer,
    schedule: LRScheduler,
    step: int,
    identity: Mapping[str, object],
    stopper: EarlyStopping,
    losses: Sequence[float],
) -> RewardState:
    """The state to save, whole on the first process. Call it on all of them.

    It has no random state: the order of the rows and LoRA's dropout depend only on the seed and
    the step.

    Args:
        scorer: its trained weights are saved.
        optimizer: AdamW.
        schedule: of the learning rate.
        step: optimizer steps taken.
        identity: settings that a resumed run has to share.
        stopper: early stopping, including its best weights.
        losses: of the steps that are not in a line of metrics yet.
    """
    return {
        "weights": gathered(trained_weights(scorer)),
        "optimizer": gathered(optimizer.state_dict()),
        "schedule": schedule.state_dict(),
        "step": step,
        "identity": dict(identity),
        "stopper": stopper.state(),
        "losses": list(losses),
    }


def save_state(folder: Path, state: RewardState, *, keep: int) -> Path:
    """Write `folder/checkpoint-N` with the state, atomically; keep the newest `keep`."""

    def write(target: Path) -> None:
        torch.save(state, target / STATE)

    return save_checkpoint(folder, state["step"], write, save_total_limit=keep)


def load_state(
    checkpoint: Path,
    scorer: nn.Module,
    optimizer: Optimizer,
    schedule: LRScheduler,
    identity: Mapping[str, object],
    stopper: EarlyStopping,
) -> tuple[int, list[float]]:
    """Restore a `state_of`; return the number of steps taken, and `losses`.

    The arguments are those of `state_of`.

    Raises:
        CheckpointError: no such state, or that of a run with other settings.
    """
    try:
        state: RewardState = torch.load(checkpoint / STATE, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"{checkpoint} holds no state of a reward model: {error}", code="no-checkpoint"
        ) from error
    check_same_run(checkpoint, state["identity"], identity)
    put_weights(scorer, state["weights"])
    stopper.restore(state["stopper"])
    put_optimizer_state(optimizer, state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    return int(state["step"]), list(state["losses"])
