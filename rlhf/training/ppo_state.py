"""All of a PPO run's state in a checkpoint folder, and back: what makes a resume exact."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from rlhf.errors import CheckpointError
from rlhf.training.checkpoint import restore_random_state
from rlhf.training.ppo_models import PPOModels
from rlhf.training.ppo_update import Updater

STATE, CRITIC = "trainer.pt", "critic.safetensors"


@dataclass(frozen=True)
class Progress:
    """How far the run is. With weights, optimizers and random states it is all of its state."""

    step: int = 0
    episodes: int = 0
    kl_coef: float = 0.0


def write_state(
    folder: Path,
    progress: Progress,
    models: PPOModels,
    updater: Updater,
    *,
    fixed: dict[str, int],
    random_states: list[dict[str, Any]],
) -> None:
    """Everything but the policy's weights, which are saved as a model of their own.

    fixed: what decides which prompts and which noise an iteration gets, by name.
    random_states: of each process, in the order of their indices.
    """
    critic = {name: x.detach().cpu().contiguous() for name, x in models.critic.state_dict().items()}
    save_file(critic, folder / CRITIC)
    state = {
        "progress": asdict(progress),
        "fixed": fixed,
        "random_states": random_states,
        "policy_optimizer": updater.policy_optimizer.state_dict(),
        "value_optimizer": updater.value_optimizer.state_dict(),
    }
    torch.save(state, folder / STATE)


def read_state(
    checkpoint: Path,
    models: PPOModels,
    updater: Updater,
    *,
    fixed: dict[str, int],
    process_index: int,
    num_processes: int,
) -> Progress:
    """Put critic, optimizers and random generators where `write_state` saw them.

    The policy's weights are not among it: `load_models` took them from the checkpoint. With
    another number of processes the random generators start afresh; nothing here draws from them.

    Raises:
        CheckpointError: it belongs to a run over other data or with other batches.
    """
    state = torch.load(checkpoint / STATE, map_location="cpu", weights_only=True)
    for name, value in fixed.items():
        if state["fixed"][name] != value:
            raise CheckpointError(
                f"{checkpoint} was made with {name}={state['fixed'][name]}, this run has "
                f"{value}: it would walk through other data; give the same value."
            )
    models.critic.load_state_dict(load_file(checkpoint / CRITIC))
    updater.policy_optimizer.load_state_dict(state["policy_optimizer"])
    updater.value_optimizer.load_state_dict(state["value_optimizer"])
    if len(state["random_states"]) == num_processes:
        restore_random_state(state["random_states"][process_index])
    return Progress(**state["progress"])
