"""The memory that a PPO run needs, before a weight is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rlhf.models.adapter_folder import ADAPTER_WEIGHTS, trained_on
from rlhf.models.memory import (
    BYTES_TRAINED,
    GIB,
    count_parameters,
    generation_bytes,
    model_size,
)
from rlhf.models.save import ADAPTER
from rlhf.rewards.spec import RewardSpec, parse_rewards
from rlhf.training.ppo.config import PPOSettings
from rlhf.training.ppo.modes import adapter_config

FP32 = 4


@dataclass(frozen=True, kw_only=True)
class ModelMemory:
    """A model of the run, and the bytes that it and its optimizer take on every device."""

    name: str
    parameters: int
    bytes: int

    def __str__(self) -> str:
        return f"{self.name}: {self.parameters / 1e6:,.1f} M parameters, {_gib(self.bytes)}"


def plan(settings: PPOSettings, world_size: int) -> list[str]:
    """Lines on iterations, each model, and the memory of a device."""
    config, base = settings.ppo, settings.model.model_name_or_path
    models = model_memory(settings, base)
    rows = -(-config.rollout_batch_size // world_size)
    length = config.max_length
    sampling = generation_bytes(base, rows=rows, length=length, itemsize=FP32)
    total = sum(model.bytes for model in models) + sampling
    return [
        f"{config.num_steps} iterations of {config.rollout_batch_size} responses to "
        f"{config.num_prompts} prompts, {config.num_minibatches * config.num_ppo_epochs} "
        f"optimizer steps each, on {world_size} process{'es' * (world_size > 1)}",
        *map(str, models),
        f"sampling {rows} responses of {length} tokens at once: {_gib(sampling)}",
        f"about {_gib(total)} a device before activations",
    ]


def ppo_memory(settings: PPOSettings, base: str) -> str:
    """The memory of all models in a phrase, where policy and reward model are made from `base`."""
    total = sum(model.bytes for model in model_memory(settings, base, reward_like=base))
    return f"about {_gib(total)} a device before activations"


def model_memory(
    settings: PPOSettings, policy: str, *, reward_like: str | None = None
) -> list[ModelMemory]:
    """Policy, critic, reference and reward models, as the mode holds them.

    reward_like: a model of the reward models' size, which need not exist yet.
    """
    config, size = settings.ppo, count_parameters(policy, "CAUSAL_LM")
    if config.mode == "lora":
        models = _with_adapters(settings, policy, size)
    else:
        models = [ModelMemory(name="policy", parameters=size, bytes=size * BYTES_TRAINED)]
        if config.has_critic and config.mode == "separate":
            critic = count_parameters(_critic_like(settings, policy, reward_like), "SEQ_CLS")
            models.append(
                ModelMemory(name="critic", parameters=critic, bytes=critic * BYTES_TRAINED)
            )
        models.append(ModelMemory(name="reference", parameters=size, bytes=size * FP32))
    return [
        *models,
        *_reward_models(settings, policy, parse_rewards(settings.reward.reward), reward_like),
    ]


def _reward_models(
    settings: PPOSettings, policy: str, rewards: Sequence[RewardSpec], like: str | None
) -> list[ModelMemory]:
    models = []
    for spec in rewards:
        if spec.path is None:
            continue
        adapter = Path(spec.path) / ADAPTER
        if settings.ppo.mode == "lora" and trained_on(adapter, policy):
            size = (adapter / ADAPTER_WEIGHTS).stat().st_size
            name = f"reward {spec.path}'s adapter"
            models.append(ModelMemory(name=name, parameters=size // FP32, bytes=size))
        else:
            count = count_parameters(like or spec.path, "SEQ_CLS")
            name = f"reward {spec.path}"
            models.append(ModelMemory(name=name, parameters=count, bytes=count * FP32))
    return models


def _with_adapters(settings: PPOSettings, policy: str, size: int) -> list[ModelMemory]:
    """One frozen backbone, an adapter for the policy and one for the critic."""
    adapters = adapter_config(settings.model, policy)
    trained = model_size(adapters, "CAUSAL_LM").trained
    roles = ["policy", *(["critic"] if settings.ppo.has_critic else [])]
    return [
        ModelMemory(name="backbone and reference", parameters=size, bytes=size * FP32),
        *(
            ModelMemory(name=f"{role}'s adapter", parameters=trained, bytes=trained * BYTES_TRAINED)
            for role in roles
        ),
    ]


def _critic_like(settings: PPOSettings, policy: str, reward_like: str | None) -> str:
    """A model of the critic's size: the one it starts from, else the policy."""
    path = settings.ppo.value_model_path
    return policy if path is None or path == "fresh" or reward_like else path


def _gib(count: int) -> str:
    return f"{count / GIB:,.2f} GiB"
