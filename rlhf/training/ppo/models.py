"""PPO's models: what each starts from, and how it is prepared for the device."""

from functools import partial
from pathlib import Path

import torch
from peft import PeftModel

from rlhf.data.tokenization.tokenizer import ChatTokenizer, load_tokenizer
from rlhf.errors import ConfigError
from rlhf.models.adapter_folder import trained_on
from rlhf.models.adapters import add_frozen_adapter, states_through
from rlhf.models.cpu_kernels.attention import use_fast_cpu_attention
from rlhf.models.cpu_kernels.layers import use_fast_cpu_layers
from rlhf.models.cpu_kernels.linear import hold_in_bf16
from rlhf.models.critic import Critic, critic_from_reward_model, fresh_critic
from rlhf.models.lineage import has_another_base
from rlhf.models.load import (
    enable_gradient_checkpointing,
    load_reward_model,
    reward_scale,
    set_attention,
)
from rlhf.models.memory import frozen_dtype
from rlhf.models.save import ADAPTER, inner_model
from rlhf.rewards.model import RewardModel
from rlhf.rewards.rendered import reward_texts
from rlhf.rewards.reward import Reward, load_reward
from rlhf.training.ppo.compute import Compute
from rlhf.training.ppo.modes import (
    PPOModels,
    adapter_config,
    lora,
    separate,
    shard_models,
    shared_trunk,
)
from rlhf.training.ppo.setup import FRESH, PPOSetup


def load_models(
    setup: PPOSetup, compute: Compute, checkpoint: Path | None, *, sharded: bool = False
) -> tuple[PPOModels, Reward, list[str]]:
    """The mode's models, the reward, and notes on where they start from, a sentence each.

    Args:
        setup: what the run was asked for.
        compute: device and precision.
        checkpoint: where the policy is loaded from, instead of the model that the run starts from.
        sharded: shard the weights of the trained models and of the reference (FSDP2).

    Raises:
        ConfigError: value_model_path has another vocabulary than the policy.
    """
    reward = _reward(setup, compute)
    models, note = _models_of_mode(setup, reward, checkpoint, compute.device)
    notes = [note]
    if setup.config.mode == "lora":
        assert isinstance(models.policy, PeftModel)
        notes += _share_backbone(setup, models.policy, reward)
    _speed_up(models, setup, compute, sharded=sharded)
    if sharded:
        models = shard_models(models, compute.device)
        notes.append(
            f"FSDP2: policy, critic and reference in {torch.distributed.get_world_size()} shards; "
            "the reward model whole on each process."
        )
    return models, reward, notes


def _reward(setup: PPOSetup, compute: Compute) -> Reward:
    """The reward; without sources where an environment alone rewards."""
    rewards = setup.settings.reward
    if not setup.rewards:
        return Reward([], on_error=rewards.on_reward_error)
    return load_reward(
        setup.rewards,
        normalize=rewards.normalize_reward,
        on_error=rewards.on_reward_error,
        aggregation=rewards.reward_aggregation,
        uncertainty_coef=rewards.uncertainty_coef,
        templates=rewards.templates(setup.rewards, raw=setup.chat.raw),
        calls=rewards.calls,
        texts=reward_texts(setup.chat),
        device=compute.device,
        bf16=compute.bf16,
    )


def _speed_up(models: PPOModels, setup: PPOSetup, compute: Compute, *, sharded: bool) -> None:
    """Attention, fast CPU layers, frozen weights in bf16, gradient checkpointing as configured."""
    attention = setup.settings.model.attn_implementation
    set_attention(inner_model(models.policy), attention)
    use_fast_cpu_attention(inner_model(models.policy))
    for module in models.modules:
        use_fast_cpu_layers(module)
    if setup.config.mode == "lora":
        adapters = adapter_config(setup.settings.model, setup.base)
        if frozen_dtype(adapters, bf16=compute.bf16) == torch.bfloat16:
            hold_in_bf16(models.policy)  # its backbone, which is the reference too
    else:
        with models.reference() as reference:
            set_attention(inner_model(reference), attention)
            use_fast_cpu_attention(inner_model(reference))  # which reads packed rows
            use_fast_cpu_layers(reference)  # or its log-probs would not be the policy's at step 0
            # FSDP gathers a layer's weights together: they have one dtype.
            if compute.bf16 and not sharded:
                hold_in_bf16(reference)
    checkpointing = setup.settings.model.gradient_checkpointing
    if checkpointing:
        enable_gradient_checkpointing(models.policy)
    if setup.config.mode == "separate" and isinstance(models.critic, Critic):
        set_attention(models.critic.trunk, attention)
        use_fast_cpu_attention(models.critic.trunk)
        if checkpointing:
            enable_gradient_checkpointing(models.critic.trunk)


def _share_backbone(setup: PPOSetup, policy: PeftModel, reward: Reward) -> list[str]:
    """Run reward models that are adapters of the policy's base through the policy's backbone.

    Returns a sentence for each. A `RewardModel` object of the caller keeps its own backbone.
    """
    notes, base = [], setup.base
    for number, (spec, source) in enumerate(zip(setup.rewards, reward.sources, strict=True)):
        model = source.scorer
        if not isinstance(spec.source, str) or not isinstance(model, RewardModel):
            continue
        adapter = Path(model.path) / ADAPTER
        if not trained_on(adapter, base):
            continue
        name = f"reward_{number}"
        add_frozen_adapter(policy, name, adapter)
        through = partial(states_through, policy, name)
        replaced = has_another_base(Path(model.path), base)
        if not replaced and model.read_through(through):
            notes.append(f"{source.name} is an adapter of the same backbone.")
            continue
        policy.delete_adapter(name)
        why = f"{base} is no longer the model that it was trained on"
        if not replaced:
            why = (
                "its scores through the backbone would differ (it was trained with that base "
                "rounded to bf16 or 4 bits, or with other weights)"
            )
        notes.append(f"{source.name} is loaded whole: {why}.")
    return notes


def _models_of_mode(
    setup: PPOSetup, reward: Reward, checkpoint: Path | None, device: torch.device
) -> tuple[PPOModels, str]:
    config, settings, seed = setup.config, setup.settings, setup.seed
    if config.mode == "shared_trunk":
        note = "Policy and critic share one trunk; the value head starts fresh."
        return shared_trunk(settings, checkpoint, device, seed=seed), note
    if config.mode == "lora":
        note = "One frozen backbone: adapters are policy and critic, and none is the reference."
        if not config.has_critic:
            note = "One frozen backbone: an adapter is the policy, and none is the reference."
        return lora(settings, checkpoint, device, seed=seed), note
    if not config.has_critic:
        note = f"advantage={config.advantage}: no critic."
        return separate(settings, None, checkpoint, device), note
    critic, note = _critic(setup, reward)
    return separate(settings, critic, checkpoint, device), note


def _critic(setup: PPOSetup, reward: Reward) -> tuple[Critic, str]:
    """The critic, and a sentence on where it starts."""
    path = setup.config.value_model_path or _fitting_reward_model(reward, setup.chat)
    if path == FRESH:
        critic = fresh_critic(setup.base, seed=setup.seed)
        return critic, "The critic starts from the policy's trunk with a fresh head."
    vocabulary = load_tokenizer(path, judges=True).tokenizer.get_vocab()
    if vocabulary != setup.chat.tokenizer.get_vocab():
        raise ConfigError(
            f"value_model_path {path} has a different vocabulary from {setup.base}, "
            f"whose token ids the critic reads; leave value_model_path out or use {FRESH}.",
            code="tokenizer-mismatch",
        )
    scale, shift = _scale_of(path, setup, reward)
    critic = critic_from_reward_model(path, scale=scale, shift=shift)
    return critic, f"The critic starts from {path}, normalisation folded into its head."


def _fitting_reward_model(reward: Reward, chat: ChatTokenizer) -> str:
    """The first reward model with the policy's vocabulary, or `fresh`."""
    vocabulary = chat.tokenizer.get_vocab()
    for source in reward.sources:
        model = source.scorer
        if isinstance(model, RewardModel) and model.chat.tokenizer.get_vocab() == vocabulary:
            return model.path
    return FRESH


def _scale_of(path: str, setup: PPOSetup, reward: Reward) -> tuple[float, float]:
    """(scale, shift) that the reward applies to this model's raw logit."""
    for source in reward.sources:
        # A trailing slash does not name another model.
        if source.path is not None and Path(source.path) == Path(path):
            return source.scale, source.zero
    mean, std = reward_scale(load_reward_model(path))
    normalize = setup.settings.reward.normalize_reward
    if normalize in ("none", "probability"):
        return 1.0, 0.0
    return (1 / std if normalize == "mean_std" else 1.0), mean
