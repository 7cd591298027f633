"""The state of a PPO run in a checkpoint folder, written and restored for an exact resume."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.optimizer import StateDict

from rlhf.errors import CheckpointError
from rlhf.manifest import CRITIC_WEIGHTS, hash_text
from rlhf.models.config import step_keys
from rlhf.models.shard import gathered, put_optimizer_state, put_weights
from rlhf.training.common.checkpoint import RandomState, check_same_run, restore_random_state
from rlhf.training.ppo.ahead import AheadState
from rlhf.training.ppo.config import RUN_KEYS, PPOConfig
from rlhf.training.ppo.diagnostics import BASELINE
from rlhf.training.ppo.kl_controller import next_kl_coef
from rlhf.training.ppo.modes import PPOModels
from rlhf.training.ppo.setup import PPOSetup
from rlhf.training.ppo.update import PPOUpdater

STATE = "trainer.pt"


@dataclass(frozen=True)
class Progress:
    """How far the run is. With weights, optimizers and random states it is all of its state."""

    step: int = 0
    episodes: int = 0
    kl_coef: float = 0.0
    baseline: Mapping[str, float] = field(default_factory=dict)  # of the first iteration
    best_step: int = 0  # with the highest held-out score at bounded KL; 0 is the start
    best_score: float = -math.inf  # held-out, of that step
    score_at_best: float = -math.inf  # on training prompts, of that step


def next_progress(
    now: Progress, step: int, metrics: Mapping[str, float], config: PPOConfig
) -> Progress:
    """`now` after iteration `step`: responses counted, KL coefficient adapted."""
    kl_coef = now.kl_coef
    sampled = config.rollout_batch_size + int(metrics.get("extra_responses", 0))
    if config.target_kl is not None:
        kl_coef = next_kl_coef(
            kl_coef,
            kl=metrics["kl"],
            target_kl=config.target_kl,
            num_samples=config.rollout_batch_size,
            horizon=config.kl_horizon,
        )
    return replace(
        now,
        step=step,
        episodes=now.episodes + sampled,
        kl_coef=kl_coef,
        baseline=now.baseline or {name: metrics[name] for name in BASELINE},
    )


def with_best(
    now: Progress, held_out: Mapping[str, float], score: float, config: PPOConfig
) -> Progress:
    """`now` with this step as the best one, if its held-out score is; else `now` itself.

    Args:
        now: how far the run is.
        held_out: metrics of the held-out prompts.
        score: on the training prompts of this step.
        config: of which best_kl, or else kl_budget, bounds the KL of the best policy.
    """
    limit = config.best_kl or config.kl_budget
    within = limit is None or held_out["eval_kl"] <= limit
    if not within or held_out["eval_score"] <= now.best_score:
        return now
    return replace(now, best_step=now.step, best_score=held_out["eval_score"], score_at_best=score)


class TrainerState(TypedDict):
    """The content of trainer.pt."""

    progress: dict[str, Any]  # fields of `Progress`
    fixed: dict[str, object]  # the run's identity
    random_states: list[RandomState]  # of each process
    policy_optimizer: StateDict
    value_optimizer: NotRequired[StateDict]
    ahead: NotRequired[list[AheadState]]  # of each process, with rollout_lag


@dataclass(frozen=True)
class State:
    """What a checkpoint holds in addition to the policy's weights."""

    trainer: TrainerState
    critic_weights: dict[str, Tensor] | None  # those that only the critic trains

    def write(self, folder: Path) -> None:
        """Into the checkpoint's folder; on one process."""
        if self.critic_weights is not None:
            save_file(self.critic_weights, folder / CRITIC_WEIGHTS)
        torch.save(self.trainer, folder / STATE)


def state_of(
    progress: Progress,
    models: PPOModels,
    updater: PPOUpdater,
    *,
    identity: Mapping[str, object],
    random_states: list[RandomState],
    ahead: Sequence[AheadState | None],
) -> State:
    """The run's state, whole on the first process. Call it on all of them.

    Args:
        progress: how far the run is.
        models: whose critic is saved.
        updater: whose optimizers are saved.
        identity: of the run, from `identity_of`.
        random_states: of each process, in the order of their indices.
        ahead: responses that are sampled already, of each process.
    """
    trainer: TrainerState = {
        "progress": asdict(progress),
        "fixed": dict(identity),
        "random_states": random_states,
        "policy_optimizer": gathered(updater.policy.optimizer.state_dict()),
    }
    if updater.critic is not None:
        trainer["value_optimizer"] = gathered(updater.critic.optimizer.state_dict())
    pending = [rows for rows in ahead if rows is not None]
    if pending:
        trainer["ahead"] = pending
    weights = None if models.critic is None else _critic_weights(models, models.critic)
    return State(trainer=trainer, critic_weights=weights)


def identity_of(setup: PPOSetup) -> dict[str, object]:
    """The settings and data that a checkpoint's run must share to be resumed, by name."""
    config, model = setup.config, setup.settings.model
    lora_keys = ("lora_r", "lora_alpha", "lora_target_modules", "lora_modules_to_save")
    return {
        "seed": setup.seed,
        **{key: getattr(config, key) for key in RUN_KEYS},
        **{key: getattr(model, key) for key in lora_keys if config.mode == "lora"},
        **step_keys(model, config.optim),
        "train_data of sha256": hash_text(repr([*setup.prompts, *setup.texts])),
    }


def load_state(checkpoint: Path, identity: Mapping[str, object]) -> TrainerState:
    """What `State` wrote next to the weights, for `restore_state`; before a model is loaded.

    Raises:
        CheckpointError: a folder without it, or one of another run.
    """
    path = checkpoint / STATE
    if not path.is_file():
        raise CheckpointError(
            f"{checkpoint} holds no {STATE}: it is a model, not a checkpoint of PPO; name a "
            "checkpoint-N, or `latest`.",
            code="no-checkpoint",
        )
    state: TrainerState = torch.load(path, map_location="cpu", weights_only=True)
    # A checkpoint of an older version has fewer keys; it ran with the defaults of the others.
    defaults = {key.name: key.default for key in fields(PPOConfig) if key.name in RUN_KEYS}
    check_same_run(checkpoint, {**defaults, **state["fixed"]}, identity)
    return state


def restore_state(
    state: TrainerState,
    checkpoint: Path,
    models: PPOModels,
    updater: PPOUpdater,
    *,
    process_index: int,
    num_processes: int,
) -> Progress:
    """Restore critic, optimizers and random generators; returns how far the run was.

    `load_models` has loaded the policy's weights from the checkpoint. With another number of
    processes the random generators start afresh; nothing here draws from them.

    Args:
        state: from `load_state`.
        checkpoint: its folder.
        models: of the resumed run.
        updater: of the resumed run.
        process_index: of this process.
        num_processes: of this run.

    Raises:
        CheckpointError: its critic is not the one that this run builds.
    """
    if models.critic is not None:
        _restore_critic(checkpoint, models, models.critic)
    put_optimizer_state(updater.policy.optimizer, state["policy_optimizer"])
    if updater.critic is not None:
        put_optimizer_state(updater.critic.optimizer, state["value_optimizer"])
    if len(state["random_states"]) == num_processes:
        restore_random_state(state["random_states"][process_index])
    return Progress(**state["progress"])


def _restore_critic(checkpoint: Path, models: PPOModels, critic: nn.Module) -> None:
    weights = load_file(checkpoint / CRITIC_WEIGHTS)
    shapes = {name: parameter.shape for name, parameter in _own_parameters(models, critic)}
    if shapes != {name: tensor.shape for name, tensor in weights.items()}:
        raise CheckpointError(
            f"{checkpoint} holds another critic than this run starts with; give the same "
            "value_model_path and reward.",
            code="other-run",
        )
    put_weights(critic, weights)


def _critic_weights(models: PPOModels, critic: nn.Module) -> dict[str, Tensor]:
    return {
        name: gathered(parameter.detach()).cpu().contiguous()
        for name, parameter in _own_parameters(models, critic)
    }


def _own_parameters(models: PPOModels, critic: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """What only the critic trains: with a shared trunk its head."""
    own = {id(parameter) for parameter in models.critic_parameters}
    return [named for named in critic.named_parameters() if id(named[1]) in own]
