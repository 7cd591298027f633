"""What a PPO run would do and hold in memory, before a weight is loaded."""

from dataclasses import dataclass
from pathlib import Path

from rlhf.data.rows.sources import split_weight
from rlhf.models.adapter_folder import ADAPTER_WEIGHTS, trained_on
from rlhf.models.config import ModelConfig
from rlhf.models.memory import (
    BYTES_TRAINED,
    GIB,
    count_parameters,
    generation_bytes,
    model_size,
)
from rlhf.models.save import ADAPTER
from rlhf.rewards.function import is_function
from rlhf.training.ppo.config import PPOConfig

FP32 = 4


@dataclass(frozen=True, kw_only=True)
class Part:
    """A model of the run, and the bytes that it and its optimizer hold on every device."""

    name: str
    parameters: int
    held: int

    def __str__(self) -> str:
        return f"{self.name}: {self.parameters / 1e6:,.1f} M parameters, {_gib(self.held)}"


def plan(config: PPOConfig, world_size: int) -> list[str]:
    """Lines on iterations, each model, and the memory of a device."""
    found = parts(config, config.model_name_or_path)
    rows = -(-config.rollout_batch_size // world_size)
    length = config.max_prompt_length + config.max_completion_length
    sampling = generation_bytes(config.model_name_or_path, rows=rows, length=length, itemsize=FP32)
    total = sum(part.held for part in found) + sampling
    return [
        f"{config.num_steps} iterations of {config.rollout_batch_size} responses to "
        f"{config.num_prompts} prompts, {config.num_minibatches * config.num_ppo_epochs} "
        f"optimizer steps each, on {world_size} process{'es' * (world_size > 1)}",
        *map(str, found),
        f"sampling {rows} responses of {length} tokens at once: {_gib(sampling)}",
        f"about {_gib(total)} a device before activations",
    ]


def ppo_state(config: PPOConfig, base: str) -> str:
    """The memory of all models in words, where policy and reward model are made from `base`."""
    held = sum(part.held for part in parts(config, base, reward_like=base))
    return f"about {_gib(held)} a device before activations"


def parts(config: PPOConfig, policy: str, *, reward_like: str | None = None) -> list[Part]:
    """Policy, critic, reference and reward models, as the mode holds them.

    reward_like: a model that the reward models are as large as; they need not exist then.
    """
    size = count_parameters(policy, "CAUSAL_LM")
    if config.mode == "lora":
        found = _with_adapters(config, policy, size)
    else:
        found = [Part(name="policy", parameters=size, held=size * BYTES_TRAINED)]
        if config.has_critic and config.mode == "separate":
            critic = count_parameters(_critic_like(config, policy, reward_like), "SEQ_CLS")
            found.append(Part(name="critic", parameters=critic, held=critic * BYTES_TRAINED))
        found.append(Part(name="reference", parameters=size, held=size * FP32))
    for name in (split_weight(source)[1] for source in config.reward):
        if is_function(name):
            continue
        adapter = Path(name) / ADAPTER
        if config.mode == "lora" and trained_on(adapter, policy):
            held = (adapter / ADAPTER_WEIGHTS).stat().st_size
            found.append(Part(name=f"reward {name}'s adapter", parameters=held // FP32, held=held))
        else:
            count = count_parameters(reward_like or name, "SEQ_CLS")
            found.append(Part(name=f"reward {name}", parameters=count, held=count * FP32))
    return found


def _with_adapters(config: PPOConfig, policy: str, size: int) -> list[Part]:
    """One frozen backbone, an adapter for the policy and one for the critic."""
    adapters = ModelConfig(
        model_name_or_path=policy,
        use_peft=True,
        lora_r=config.lora_r,
        lora_alpha=config.lora_alpha,
        lora_target_modules=config.lora_target_modules,
    )
    trained = model_size(adapters, "CAUSAL_LM").trained
    roles = ["policy", *(["critic"] if config.has_critic else [])]
    return [
        Part(name="backbone and reference", parameters=size, held=size * FP32),
        *(
            Part(name=f"{role}'s adapter", parameters=trained, held=trained * BYTES_TRAINED)
            for role in roles
        ),
    ]


def _critic_like(config: PPOConfig, policy: str, reward_like: str | None) -> str:
    """What the critic is as large as: the model it starts from, else the policy."""
    path = config.value_model_path
    return policy if path is None or path == "fresh" or reward_like else path


def _gib(count: int) -> str:
    return f"{count / GIB:,.2f} GiB"
