"""PPO's four models: what each starts from, and what is checked before one is loaded."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rlhf.data.tokenizer import ChatTokenizer, load_tokenizer
from rlhf.errors import ConfigError
from rlhf.models.attention import use_fast_cpu_attention
from rlhf.models.config import fast_bf16
from rlhf.models.critic import Critic, critic_from_reward_model, fresh_critic
from rlhf.models.forward import Sequences, policy_logprobs
from rlhf.models.load import load_policy, load_reward_model, reward_scale
from rlhf.rewards.function import is_function, load_function
from rlhf.rewards.model import RewardModel
from rlhf.rewards.reward import Reward, load_reward, split_weight
from rlhf.training.ppo_config import PPOConfig
from rlhf.training.provenance import check_same_format, load_checked_tokenizer

FRESH = "fresh"


class ActorCritic(nn.Module):
    """Policy and critic under one forward, so that one wrapper (DDP) sees all that is trained."""

    def __init__(self, policy: Any, critic: Critic, *, temperature: float) -> None:
        super().__init__()
        self.policy = policy
        self.critic = critic
        self.temperature = temperature

    def forward(self, sequences: Sequences) -> tuple[Tensor, Tensor]:
        """Log-probs and values of the response tokens, each float32 [B, R]."""
        logprobs = policy_logprobs(self.policy, sequences, temperature=self.temperature)
        return logprobs, self.critic(sequences)


@dataclass(frozen=True, kw_only=True)
class PPOModels:
    """On the run's device. Policy and critic are trained, the others are frozen."""

    policy: Any
    critic: Critic
    reference: Any
    reward: Reward
    notes: tuple[str, ...]  # what was settled, one sentence each


def check_models(config: PPOConfig) -> tuple[ChatTokenizer, list[str]]:
    """The policy's tokenizer, and the models that the run builds on; no weight is loaded.

    Raises:
        CheckpointError: a seam that does not fit: altered folders, other templates or stop ids,
            a tokenizer larger than its model, a raw policy under a chat reward model.
        ConfigError: a reward function that does not load.
    """
    chat, _ = load_checked_tokenizer(config.model_name_or_path, config.chat_template)
    built_on = [config.model_name_or_path]
    for name in (split_weight(source)[1] for source in config.reward):
        if is_function(name):
            load_function(name)
            continue
        reward_chat, _ = load_checked_tokenizer(name, _template_of_rewards(chat))
        check_same_format(config.model_name_or_path, chat, name, reward_chat)
        built_on.append(name)
    if config.value_model_path not in (None, FRESH, *built_on):
        assert config.value_model_path is not None
        load_checked_tokenizer(config.value_model_path, _template_of_rewards(chat))
        built_on.append(config.value_model_path)
    return chat, built_on


def load_models(
    config: PPOConfig, chat: ChatTokenizer, checkpoint: Path | None, *, seed: int, device: Any
) -> PPOModels:
    """All four, the policy from `checkpoint` where there is one.

    Raises:
        ConfigError: value_model_path has another vocabulary than the policy.
    """
    reward = load_reward(
        config.reward,
        normalize=config.normalize_reward,
        chat_template=_template_of_rewards(chat),
        device=device,
        bf16=computes_in_bf16(config),
    )
    policy: Any = load_policy(checkpoint or config.model_name_or_path)
    reference: Any = load_policy(config.model_name_or_path)
    critic, note = _critic(config, chat, reward, seed)
    use_fast_cpu_attention(policy)
    use_fast_cpu_attention(critic.trunk)
    if config.gradient_checkpointing:
        for trained in (policy, critic.trunk):
            trained.gradient_checkpointing_enable(
                gradient_checkpointing_kwargs={"use_reentrant": False}
            )
    return PPOModels(
        policy=policy.to(device),
        critic=critic.to(device),
        reference=reference.to(device).eval().requires_grad_(False),
        reward=reward,
        notes=(note,),
    )


def computes_in_bf16(config: PPOConfig) -> bool:
    """Whether this run computes in bf16: as the key says, else where the device is fast at it."""
    return fast_bf16() if config.bf16 is None else config.bf16


def _critic(
    config: PPOConfig, chat: ChatTokenizer, reward: Reward, seed: int
) -> tuple[Critic, str]:
    """The critic, and a sentence on where it starts."""
    path = config.value_model_path or _fitting_reward_model(reward, chat)
    if path == FRESH:
        critic = fresh_critic(config.model_name_or_path, seed=seed)
        return critic, "The critic starts from the policy's trunk with a fresh head."
    if load_tokenizer(path).tokenizer.get_vocab() != chat.tokenizer.get_vocab():
        raise ConfigError(
            f"value_model_path {path} has another vocabulary than {config.model_name_or_path}, "
            f"whose token ids the critic reads; leave it out or use {FRESH}."
        )
    scale, shift = _scale_of(path, config, reward)
    critic = critic_from_reward_model(path, scale=scale, shift=shift)
    return critic, f"The critic starts from {path}, normalisation folded into its head."


def _fitting_reward_model(reward: Reward, chat: ChatTokenizer) -> str:
    """The first reward model with the policy's vocabulary, or `fresh`."""
    vocabulary = chat.tokenizer.get_vocab()
    for source in reward.sources:
        model = source.scorer
        if isinstance(model, RewardModel) and model.chat.tokenizer.get_vocab() == vocabulary:
            return source.name
    return FRESH


def _scale_of(path: str, config: PPOConfig, reward: Reward) -> tuple[float, float]:
    """(scale, shift) that the reward applies to this model's raw logit."""
    for source in reward.sources:
        if source.name == path:
            return source.scale, source.shift
    mean, std = reward_scale(load_reward_model(path))
    if config.normalize_reward == "none":
        return 1.0, 0.0
    return (1 / std if config.normalize_reward == "mean_std" else 1.0), mean


def _template_of_rewards(chat: ChatTokenizer) -> str:
    """Reward models read their own template, unless prompts are raw in every stage."""
    return "none" if chat.raw else "auto"


def count_parameters(*modules: nn.Module) -> int:
    """Parameters of the modules, shared ones counted once."""
    return sum(p.numel() for p in {p for module in modules for p in module.parameters()})


def autocast(device: torch.device, enabled: bool) -> torch.autocast:
    """bf16 autocast on this device."""
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)
