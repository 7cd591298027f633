"""All of a PPO run's state in a checkpoint folder, and back: what makes a resume exact."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rlhf.manifest import CRITIC_WEIGHTS
from rlhf.models.shard import gathered, put_optimizer_state, put_weights
from rlhf.training.checkpoint import refuse_another_run, restore_random_state
from rlhf.training.kl_controller import next_kl_coef
from rlhf.training.ppo_config import PPOConfig
from rlhf.training.ppo_health import BASELINE
from rlhf.training.ppo_modes import PPOModels
from rlhf.training.ppo_update import Updater

STATE = "trainer.pt"


@dataclass(frozen=True)
class Progress:
    """How far the run is. With weights, optimizers and random states it is all of its state."""

    step: int = 0
    episodes: int = 0
    kl_coef: float = 0.0
    baseline: Mapping[str, float] = field(default_factory=dict)  # first iteration's, for warnings
    best_step: int = 0  # with the highest held-out score at bounded KL; 0 is the start
    best_score: float = -math.inf  # held-out, of that step
    score_at_best: float = -math.inf  # on training prompts, of that step


def advanced(now: Progress, step: int, figures: Mapping[str, float], config: PPOConfig) -> Progress:
    """`now` after iteration `step`: responses counted, KL coefficient adapted."""
    kl_coef = now.kl_coef
    if config.target_kl is not None:
        kl_coef = next_kl_coef(
            kl_coef,
            kl=figures["kl"],
            target_kl=config.target_kl,
            num_samples=config.rollout_batch_size,
            horizon=config.kl_horizon,
        )
    return replace(
        now,
        step=step,
        episodes=now.episodes + config.rollout_batch_size,
        kl_coef=kl_coef,
        baseline=now.baseline or {name: figures[name] for name in BASELINE},
    )


@dataclass(frozen=True)
class State:
    """What a checkpoint holds beside the policy's weights."""

    trainer: dict[str, Any]
    value_weights: dict[str, Tensor] | None  # what the critic trains of itself

    def write(self, folder: Path) -> None:
        """Into the checkpoint's folder; on one process."""
        if self.value_weights is not None:
            save_file(self.value_weights, folder / CRITIC_WEIGHTS)
        torch.save(self.trainer, folder / STATE)


def state_of(
    progress: Progress,
    models: PPOModels,
    updater: Updater,
    *,
    fixed: Mapping[str, Any],
    random_states: list[dict[str, Any]],
) -> State:
    """The run's state, whole on the first process. Call it on all of them.

    fixed: what decides which prompts, noise and loss an iteration gets, by name.
    random_states: of each process, in the order of their indices.
    """
    trainer = {
        "progress": asdict(progress),
        "fixed": dict(fixed),
        "random_states": random_states,
        "policy_optimizer": gathered(updater.policy_optimizer.state_dict()),
    }
    if updater.value_optimizer is not None:
        trainer["value_optimizer"] = gathered(updater.value_optimizer.state_dict())
    weights = None if models.critic is None else _value_weights(models, models.critic)
    return State(trainer=trainer, value_weights=weights)


def read_state(
    checkpoint: Path,
    models: PPOModels,
    updater: Updater,
    *,
    fixed: Mapping[str, Any],
    process_index: int,
    num_processes: int,
) -> Progress:
    """Put critic, optimizers and random generators where `state_of` saw them.

    The policy's weights are not among it: `load_models` took them from the checkpoint. With
    another number of processes the random generators start afresh; nothing here draws from them.

    Raises:
        CheckpointError: it belongs to a run over other data or with other batches.
    """
    state = torch.load(checkpoint / STATE, map_location="cpu", weights_only=True)
    refuse_another_run(checkpoint, state["fixed"], fixed)
    put_optimizer_state(updater.policy_optimizer, state["policy_optimizer"])
    if models.critic is not None:
        put_weights(models.critic, load_file(checkpoint / CRITIC_WEIGHTS))
    if updater.value_optimizer is not None:
        put_optimizer_state(updater.value_optimizer, state["value_optimizer"])
    if len(state["random_states"]) == num_processes:
        restore_random_state(state["random_states"][process_index])
    return Progress(**state["progress"])


def _value_weights(models: PPOModels, critic: nn.Module) -> dict[str, Tensor]:
    """What the critic trains of itself: with a shared trunk its head alone."""
    trained = {id(parameter) for parameter in models.value_parameters}
    return {
        name: gathered(parameter.detach()).cpu().contiguous()
        for name, parameter in critic.named_parameters()
        if id(parameter) in trained
    }
