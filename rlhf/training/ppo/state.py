"""All of a PPO run's state in a checkpoint folder, and back: what makes a resume exact."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rlhf.errors import CheckpointError
from rlhf.manifest import CRITIC_WEIGHTS, hash_text
from rlhf.models.shard import gathered, put_optimizer_state, put_weights
from rlhf.runtime.run_folder import RunConfig
from rlhf.training.common.checkpoint import check_same_run, restore_random_state
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.diagnostics import BASELINE
from rlhf.training.ppo.kl_controller import next_kl_coef
from rlhf.training.ppo.modes import PPOModels
from rlhf.training.ppo.update import PPOUpdater
from rlhf.types import PromptRow

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


def next_progress(
    now: Progress, step: int, figures: Mapping[str, float], config: PPOConfig
) -> Progress:
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
    updater: PPOUpdater,
    *,
    identity: Mapping[str, Any],
    random_states: list[dict[str, Any]],
) -> State:
    """The run's state, whole on the first process. Call it on all of them.

    identity: of the run, of `identity_of`.
    random_states: of each process, in the order of their indices.
    """
    trainer = {
        "progress": asdict(progress),
        "fixed": dict(identity),
        "random_states": random_states,
        "policy_optimizer": gathered(updater.policy_optimizer.state_dict()),
    }
    if updater.value_optimizer is not None:
        trainer["value_optimizer"] = gathered(updater.value_optimizer.state_dict())
    weights = None if models.critic is None else _value_weights(models, models.critic)
    return State(trainer=trainer, value_weights=weights)


def identity_of(
    run: RunConfig, config: PPOConfig, prompts: Sequence[PromptRow], texts: Sequence[str]
) -> dict[str, Any]:
    """What another value of would make another run, by name: a checkpoint remembers it."""
    of_lora = ("lora_r", "lora_alpha", "lora_target_modules") if config.mode == "lora" else ()
    keys = ("mode", "advantage", "rollout_batch_size", "num_generations", "kl_coef", *of_lora)
    return {
        "seed": run.seed,
        **{key: getattr(config, key) for key in keys},
        "train_data of sha256": hash_text(repr([*prompts, *texts])),
    }


def load_state(checkpoint: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """What `State` wrote beside weights, for `restore_state`; before a model is loaded.

    Raises:
        CheckpointError: a folder without it, or one of another run.
    """
    path = checkpoint / STATE
    if not path.is_file():
        raise CheckpointError(
            f"{checkpoint} holds no {STATE}: it is a model and not a checkpoint of PPO; name a "
            "checkpoint-N, or `latest`."
        )
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    check_same_run(checkpoint, state["fixed"], identity)
    return state


def restore_state(
    state: Mapping[str, Any],
    checkpoint: Path,
    models: PPOModels,
    updater: PPOUpdater,
    *,
    process_index: int,
    num_processes: int,
) -> Progress:
    """Put critic, optimizers and random generators where `state_of` saw them.

    The policy's weights are not among it: `load_models` took them from the checkpoint. With
    another number of processes the random generators start afresh; nothing here draws from them.

    Raises:
        CheckpointError: its critic is not the one that this run builds.
    """
    if models.critic is not None:
        _put_critic(checkpoint, models, models.critic)
    put_optimizer_state(updater.policy_optimizer, state["policy_optimizer"])
    if updater.value_optimizer is not None:
        put_optimizer_state(updater.value_optimizer, state["value_optimizer"])
    if len(state["random_states"]) == num_processes:
        restore_random_state(state["random_states"][process_index])
    return Progress(**state["progress"])


def _put_critic(checkpoint: Path, models: PPOModels, critic: nn.Module) -> None:
    weights = load_file(checkpoint / CRITIC_WEIGHTS)
    shapes = {name: parameter.shape for name, parameter in _trained(models, critic)}
    if shapes != {name: tensor.shape for name, tensor in weights.items()}:
        raise CheckpointError(
            f"{checkpoint} holds another critic than this run begins with; give the same "
            "value_model_path and reward."
        )
    put_weights(critic, weights)


def _value_weights(models: PPOModels, critic: nn.Module) -> dict[str, Tensor]:
    return {
        name: gathered(parameter.detach()).cpu().contiguous()
        for name, parameter in _trained(models, critic)
    }


def _trained(models: PPOModels, critic: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """What the critic trains of itself: with a shared trunk its head alone."""
    trained = {id(parameter) for parameter in models.value_parameters}
    return [named for named in critic.named_parameters() if id(named[1]) in trained]
