"""PPO's four models: what each starts from, and what is checked before one is loaded."""

from functools import partial
from pathlib import Path

import torch
from peft import PeftModel
from torch import nn

from rlhf.data.rows.sources import split_weight
from rlhf.data.tokenization.tokenizer import ChatTokenizer, load_tokenizer
from rlhf.errors import ConfigError
from rlhf.models.adapter_folder import trained_on
from rlhf.models.adapters import add_frozen_adapter, states_through
from rlhf.models.compatibility import check_same_format, load_checked_tokenizer
from rlhf.models.config import fast_bf16
from rlhf.models.cpu_kernels.attention import use_fast_cpu_attention
from rlhf.models.cpu_kernels.linear import hold_in_bf16, use_fast_cpu_linear
from rlhf.models.cpu_kernels.norm import use_fast_cpu_norms
from rlhf.models.critic import Critic, critic_from_reward_model, fresh_critic
from rlhf.models.lineage import has_another_base
from rlhf.models.load import (
    enable_gradient_checkpointing,
    load_reward_model,
    reward_scale,
)
from rlhf.models.save import ADAPTER, inner_model
from rlhf.models.shard import sharding_asked_for
from rlhf.rewards.ensemble import UNCERTAINTY_COEF
from rlhf.rewards.function import is_function, load_function
from rlhf.rewards.model import RewardModel
from rlhf.rewards.reward import Reward, load_reward
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.modes import PPOModels, lora, separate, shard_models, shared_trunk
from rlhf.training.ppo.validation import check_device, check_sharding

FRESH = "fresh"


def check_models(config: PPOConfig) -> tuple[ChatTokenizer, list[str]]:
    """The policy's tokenizer, and the models that the run builds on; no weight is loaded.

    Raises:
        CheckpointError: a seam that does not fit: altered folders, other templates or stop ids,
            a tokenizer larger than its model, a raw policy under a chat reward model.
        ConfigError: a reward function that does not load; what launch or machine do not do.
    """
    check_device(config)
    check_sharding(config, sharded=sharding_asked_for())
    chat, _ = load_checked_tokenizer(
        config.model_name_or_path,
        config.chat_template,
        template_kwargs=config.template_kwargs,
    )
    templates = config.reward_templates(raw=chat.raw)
    built_on = [config.model_name_or_path]
    for name in (split_weight(source)[1] for source in config.reward):
        if is_function(name):
            load_function(name)
            continue
        reward_chat, _ = load_checked_tokenizer(
            name,
            templates[name].template,
            template_kwargs=templates[name].kwargs,
            judges=True,
        )
        check_same_format(config.model_name_or_path, chat, name, reward_chat)
        built_on.append(name)
    if config.value_model_path not in (None, FRESH, *built_on):
        assert config.value_model_path is not None
        own = "none" if chat.raw else "auto"
        load_checked_tokenizer(config.value_model_path, own, judges=True)
        built_on.append(config.value_model_path)
    return chat, built_on


def load_models(
    config: PPOConfig,
    chat: ChatTokenizer,
    checkpoint: Path | None,
    *,
    seed: int,
    device: torch.device,
    sharded: bool = False,
) -> tuple[PPOModels, Reward, list[str]]:
    """The mode's models, the policy from `checkpoint` where there is one; the reward; notes.

    Notes say what was settled, one sentence each. sharded: weights of what is trained and of the
    reference in shares, one on each process.

    Raises:
        ConfigError: value_model_path has another vocabulary than the policy.
    """
    reward = load_reward(
        config.reward,
        normalize=config.normalize_reward,
        on_error=config.on_reward_error,
        aggregation=config.reward_aggregation,
        uncertainty_coef=config.reward_uncertainty_coef or UNCERTAINTY_COEF,
        templates=config.reward_templates(raw=chat.raw),
        device=device,
        bf16=computes_in_bf16(config),
    )
    models, note = _models_of_mode(config, chat, reward, checkpoint, seed=seed, device=device)
    notes = [note]
    if config.mode == "lora":
        notes += _share_backbone(config.model_name_or_path, models.policy, reward)
    use_fast_cpu_attention(inner_model(models.policy))
    for learner in models.learners:
        use_fast_cpu_linear(learner)
        use_fast_cpu_norms(learner)
    if config.mode == "lora":
        if computes_in_bf16(config):
            hold_in_bf16(models.policy)  # its backbone, which is the reference too
    else:
        with models.reference() as reference:
            use_fast_cpu_linear(reference)
            use_fast_cpu_norms(reference)  # or its log-probs would not be the policy's at step 0
            # FSDP gathers a layer's weights as one: they have one type.
            if computes_in_bf16(config) and not sharded:
                hold_in_bf16(reference)
    if config.gradient_checkpointing:
        enable_gradient_checkpointing(models.policy)
    if config.mode == "separate" and isinstance(models.critic, Critic):
        use_fast_cpu_attention(models.critic.trunk)
        if config.gradient_checkpointing:
            enable_gradient_checkpointing(models.critic.trunk)
    if sharded:
        models = shard_models(models, device)
        notes.append(
            f"FSDP2: policy, critic and reference in {torch.distributed.get_world_size()} shares; "
            "the reward model whole on each process."
        )
    return models, reward, notes


def _share_backbone(base: str, policy: PeftModel, reward: Reward) -> list[str]:
    """Read reward models that were trained as adapters of `base` through the policy's backbone.

    Returns what was done, a sentence each.
    """
    notes = []
    for number, source in enumerate(reward.sources):
        adapter = Path(source.name) / ADAPTER
        if not isinstance(source.scorer, RewardModel) or not trained_on(adapter, base):
            continue
        name = f"reward_{number}"
        add_frozen_adapter(policy, name, adapter)
        through = partial(states_through, policy, name)
        replaced = has_another_base(Path(source.name), base)
        if not replaced and source.scorer.read_through(through):
            notes.append(f"{source.name} is an adapter of the same backbone.")
            continue
        policy.delete_adapter(name)
        why = f"{base} is no longer what it was trained on"
        if not replaced:
            why = (
                "its scores through the backbone would differ (it was trained with that base "
                "rounded to bf16, or with other weights)"
            )
        notes.append(f"{source.name} is held whole: {why}.")
    return notes


def _models_of_mode(
    config: PPOConfig,
    chat: ChatTokenizer,
    reward: Reward,
    checkpoint: Path | None,
    *,
    seed: int,
    device: torch.device,
) -> tuple[PPOModels, str]:
    if config.mode == "shared_trunk":
        note = "Policy and critic share one trunk; the value head starts fresh."
        return shared_trunk(config, checkpoint, device, seed=seed), note
    if config.mode == "lora":
        note = "One frozen backbone: adapters are policy and critic, and none is the reference."
        if not config.has_critic:
            note = "One frozen backbone: an adapter is the policy, and none is the reference."
        return lora(config, checkpoint, device, seed=seed), note
    if not config.has_critic:
        note = f"advantage={config.advantage}: no critic."
        return separate(config, None, checkpoint, device), note
    critic, note = _critic(config, chat, reward, seed)
    return separate(config, critic, checkpoint, device), note


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
    if load_tokenizer(path, judges=True).tokenizer.get_vocab() != chat.tokenizer.get_vocab():
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
        if Path(source.name) == Path(path):  # a slash at the end makes no other model
            return source.scale, source.shift
    mean, std = reward_scale(load_reward_model(path))
    if config.normalize_reward == "none":
        return 1.0, 0.0
    return (1 / std if config.normalize_reward == "mean_std" else 1.0), mean


def count_parameters(*modules: nn.Module) -> int:
    """Parameters of the modules, shared ones counted once."""
    return sum(p.numel() for p in {p for module in modules for p in module.parameters()})


def autocast(device: torch.device, enabled: bool) -> torch.autocast:
    """bf16 autocast on this device."""
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)
