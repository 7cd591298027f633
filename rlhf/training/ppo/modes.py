"""The models of each mode. A trained module has one forward, so that one wrapper (DDP) suffices."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from rlhf.models.adapters import (
    CRITIC,
    POLICY,
    AdapterCritic,
    parameters_of,
    policy_with_adapters,
    without_adapters,
)
from rlhf.models.config import BackboneConfig, ModelConfig
from rlhf.models.critic import Critic, fresh_head, values_of_states
from rlhf.models.forward import ResponseOutputs, response_outputs
from rlhf.models.load import load_policy, on_device
from rlhf.models.save import inner_model
from rlhf.models.sequences import Sequences
from rlhf.models.shard import shard, whole, whole_weights
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.settings import PPOSettings

Reference = Callable[[], AbstractContextManager[PreTrainedModel | PeftModel]]


class Outputs(NamedTuple):
    """Of the response tokens, float32 [B, R]; None where a module has none."""

    logprobs: Tensor | None = None
    values: Tensor | None = None
    entropies: Tensor | None = None  # nats of the predicted distributions; for the entropy bonus


@dataclass(frozen=True, kw_only=True)
class PPOModels:
    """The trained modules and the frozen reference."""

    policy: PreTrainedModel | PeftModel  # what is sampled from and saved
    critic: nn.Module | None  # Sequences -> values [B, R]; None for the group estimators
    policy_module: nn.Module  # what is trained of the policy: Sequences -> Outputs
    critic_module: nn.Module | None  # likewise of the critic; policy_module where one has both
    policy_parameters: list[nn.Parameter]
    critic_parameters: list[nn.Parameter]
    reference: Reference  # `with reference() as model:`
    sharded: bool = False  # weights in shards, one on each process

    @property
    def modules(self) -> list[nn.Module]:
        """The trained modules, each once."""
        if self.critic_module is None or self.critic_module is self.policy_module:
            return [self.policy_module]
        return [self.policy_module, self.critic_module]

    @contextmanager
    def whole_policy(self) -> Iterator[PreTrainedModel | PeftModel]:
        """The policy with whole weights, for any number of calls per process; no gradients."""
        with whole(self.policy_module):
            yield self.policy

    @contextmanager
    def whole_critic(self) -> Iterator[nn.Module]:
        """The critic with whole weights; see `whole_policy`."""
        assert self.critic is not None
        assert self.critic_module is not None
        with whole(self.critic_module):
            yield self.critic

    def policy_weights(self) -> dict[str, Tensor] | None:
        """The policy's whole weights on the first process, where they are sharded; else None.

        Call it on all processes.
        """
        return whole_weights(self.policy) if self.sharded else None


class Actor(nn.Module):
    """The policy as a trained module: Sequences -> Outputs."""

    def __init__(self, policy: PreTrainedModel | PeftModel, config: PPOConfig) -> None:
        super().__init__()
        self.policy = policy
        self.temperature, self.entropy = config.temperature, config.entropy_coef > 0

    def forward(self, sequences: Sequences) -> Outputs:
        """Log-probs, and entropies where the loss has an entropy bonus."""
        flat = response_outputs(
            self.policy, sequences, temperature=self.temperature, entropy=self.entropy
        )
        return _outputs(sequences, flat)


class ValueModule(nn.Module):
    """A separate critic as a trained module."""

    def __init__(self, critic: Critic) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, sequences: Sequences) -> Outputs:
        """Values only."""
        return Outputs(values=self.critic(sequences))


class ActorCritic(Actor):
    """Policy and critic on one backbone under one forward, for one wrapper (DDP)."""

    def __init__(
        self, policy: PreTrainedModel | PeftModel, critic: nn.Module, config: PPOConfig
    ) -> None:
        super().__init__(policy, config)
        self.critic = critic

    def forward(self, sequences: Sequences) -> Outputs:
        """Both, each from its own pass."""
        return super().forward(sequences)._replace(values=self.critic(sequences))


class SharedTrunk(nn.Module):
    """A policy whose hidden states a value head reads too: one pass gives both."""

    def __init__(
        self, policy: PreTrainedModel | PeftModel, head: nn.Linear, config: PPOConfig
    ) -> None:
        super().__init__()
        self.policy = policy
        self.head = head
        self.temperature, self.entropy = config.temperature, config.entropy_coef > 0

    def forward(self, sequences: Sequences) -> Outputs:
        """Both, from one pass."""
        flat = response_outputs(
            self.policy, sequences, temperature=self.temperature, entropy=self.entropy
        )
        values = values_of_states(self.head, flat.states, sequences)
        return _outputs(sequences, flat)._replace(values=values)


def _outputs(sequences: Sequences, flat: ResponseOutputs) -> Outputs:
    entropies = None if flat.entropies is None else sequences.as_columns(flat.entropies)
    return Outputs(logprobs=sequences.as_columns(flat.logprobs), entropies=entropies)


def separate(
    settings: PPOSettings, critic: Critic | None, checkpoint: Path | None, device: torch.device
) -> PPOModels:
    """Policy, critic (unless the estimator needs none) and reference, each a model of its own.

    Two modules: the activations of one are gone before those of the other exist.
    """
    policy = on_device(_trained_policy(settings, checkpoint), device)
    return PPOModels(
        policy=policy,
        critic=critic,
        policy_module=Actor(policy, settings.ppo),
        critic_module=None if critic is None else ValueModule(critic.to(device)),
        policy_parameters=list(policy.parameters()),
        critic_parameters=[] if critic is None else list(critic.parameters()),
        reference=_frozen_copy(settings, device),
    )


def shared_trunk(
    settings: PPOSettings, checkpoint: Path | None, device: torch.device, *, seed: int
) -> PPOModels:
    """One trunk for logits and values; the value loss moves the trunk as well."""
    policy = _trained_policy(settings, checkpoint)
    head = fresh_head(policy, seed=seed)
    trunk = policy.base_model
    assert isinstance(trunk, PreTrainedModel)
    module = SharedTrunk(policy, head, settings.ppo)
    return PPOModels(
        policy=on_device(policy, device),
        critic=Critic(trunk, head.to(device)),
        policy_module=module,
        critic_module=module,
        policy_parameters=list(policy.parameters()),
        critic_parameters=list(head.parameters()),
        reference=_frozen_copy(settings, device),
    )


def lora(
    settings: PPOSettings, checkpoint: Path | None, device: torch.device, *, seed: int
) -> PPOModels:
    """One frozen backbone: with the policy's adapter, with the critic's, or bare as reference."""
    config, model = settings.ppo, settings.model
    policy = policy_with_adapters(
        model.model_name_or_path,
        adapter_config(model, model.model_name_or_path),
        critic=config.has_critic,
        checkpoint=checkpoint,
        seed=seed,
    ).to(device)
    if not config.has_critic:
        return PPOModels(
            policy=policy,
            critic=None,
            policy_module=Actor(policy, config),
            critic_module=None,
            policy_parameters=parameters_of(policy, POLICY),
            critic_parameters=[],
            reference=lambda: without_adapters(policy),
        )
    critic = AdapterCritic(policy, fresh_head(policy, seed=seed).to(device))
    module = ActorCritic(policy, critic, config)
    return PPOModels(
        policy=policy,
        critic=critic,
        policy_module=module,
        critic_module=module,
        policy_parameters=parameters_of(policy, POLICY),
        critic_parameters=[*parameters_of(policy, CRITIC), *critic.head.parameters()],
        reference=lambda: without_adapters(policy),
    )


def adapter_config(model: BackboneConfig, base: str) -> ModelConfig:
    """`base` with LoRA adapters, as mode lora trains them."""
    return ModelConfig(
        model_name_or_path=base,
        use_peft=True,
        lora_r=model.lora_r,
        lora_alpha=model.lora_alpha,
        lora_target_modules=model.lora_target_modules,
        lora_modules_to_save=model.lora_modules_to_save,
        use_rslora=model.use_rslora,
        use_dora=model.use_dora,
        dtype=model.dtype,
        load_in_4bit=model.load_in_4bit,
        bf16=model.bf16,
    )


def shard_models(models: PPOModels, device: torch.device) -> PPOModels:
    """The models of mode `separate` or `shared_trunk` with sharded weights (FSDP2).

    The reference is sharded too; the reward model stays whole on every process.
    """
    layers = inner_model(models.policy)._no_split_modules or []
    policy_names = _names_in(models.modules, models.policy_parameters)
    critic_names = _names_in(models.modules, models.critic_parameters)
    for module in models.modules:
        shard(module, layers, device)
    with models.reference() as reference:
        shard(reference, layers, device)
    sharded = dict(_named_parameters(models.modules))
    return replace(
        models,
        reference=lambda: _whole(reference),
        policy_parameters=[sharded[name] for name in policy_names],
        critic_parameters=[sharded[name] for name in critic_names],
        sharded=True,
    )


def _named_parameters(
    modules: Sequence[nn.Module],
) -> Iterator[tuple[tuple[int, str], nn.Parameter]]:
    """((index of the module, name in it), parameter) of every parameter."""
    for number, module in enumerate(modules):
        for name, parameter in module.named_parameters():
            yield (number, name), parameter


def _names_in(
    modules: Sequence[nn.Module], parameters: Sequence[nn.Parameter]
) -> list[tuple[int, str]]:
    names = {id(parameter): name for name, parameter in _named_parameters(modules)}
    return [names[id(parameter)] for parameter in parameters]


@contextmanager
def _whole(model: PreTrainedModel | PeftModel) -> Iterator[PreTrainedModel | PeftModel]:
    with whole(model):
        yield model


def _trained_policy(settings: PPOSettings, checkpoint: Path | None) -> PreTrainedModel:
    """The policy with every weight to be trained, from `checkpoint` where there is one.

    A checkpoint's config names the pad token, and transformers then gives that token's embedding
    no gradient; the model the run started from may name none. A policy can sample that token, and
    a resumed run would differ.
    """
    policy = load_policy(checkpoint or settings.model.model_name_or_path)
    embeddings = policy.get_input_embeddings()
    if isinstance(embeddings, nn.Embedding):
        embeddings.padding_idx = None
    return policy


def _frozen_copy(settings: PPOSettings, device: torch.device) -> Reference:
    model = on_device(load_policy(settings.model.model_name_or_path), device)
    model.requires_grad_(False)
    return lambda: nullcontext(model)
