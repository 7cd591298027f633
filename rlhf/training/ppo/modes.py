"""The trained models of each mode, under one forward each, so that one wrapper sees them all."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rlhf.models.adapters import (
    CRITIC,
    POLICY,
    AdapterCritic,
    parameters_of,
    policy_with_adapters,
    without_adapters,
)
from rlhf.models.config import ModelConfig
from rlhf.models.critic import Critic, fresh_head, values_of_states
from rlhf.models.forward import Sequences, policy_logprobs, states_and_logits
from rlhf.models.load import load_policy
from rlhf.models.save import inner_model
from rlhf.models.shard import gathered, shard, whole
from rlhf.ops.logprobs import token_logprobs
from rlhf.training.ppo.config import PPOConfig

Reference = Callable[[], AbstractContextManager[Any]]
Outputs = tuple[Tensor | None, Tensor | None]
"""Log-probs and values of the response tokens, float32 [B, R], of a learner that has them."""


@dataclass(frozen=True, kw_only=True)
class PPOModels:
    """What is trained, and the frozen reference."""

    policy: Any  # what is sampled from and saved: a transformers or a peft model
    critic: nn.Module | None  # Sequences -> values [B, R]; None for the group estimators
    learners: list[nn.Module]  # what is trained, Sequences -> Outputs
    reference: Reference  # `with reference() as model:`
    policy_parameters: list[nn.Parameter]
    value_parameters: list[nn.Parameter]
    sharded: bool = False  # weights in shares, one on each process

    @contextmanager
    def whole_policy(self) -> Iterator[Any]:
        """The policy, to be called as often as each process likes; without gradients."""
        with whole(self.learners[0]):
            yield self.policy

    @contextmanager
    def whole_critic(self) -> Iterator[nn.Module]:
        """The critic, as `whole_policy`."""
        assert self.critic is not None
        with whole(self.learners[-1]):
            yield self.critic

    def policy_weights(self) -> dict[str, Tensor] | None:
        """The policy's weights, whole, on the first process, where they are sharded; else None.

        Call it on all processes.
        """
        if not self.sharded:
            return None
        named = self.policy.state_dict(keep_vars=True)  # tied weights are one object then
        tensors = {id(tensor): gathered(tensor.detach()) for tensor in named.values()}
        return {name: tensors[id(tensor)] for name, tensor in named.items()}


class Actor(nn.Module):
    """The policy as a learner: Sequences -> Outputs."""

    def __init__(self, policy: Any, *, temperature: float) -> None:
        super().__init__()
        self.policy = policy
        self.temperature = temperature

    def forward(self, sequences: Sequences) -> Outputs:
        """Log-probs alone."""
        return policy_logprobs(self.policy, sequences, temperature=self.temperature), None


class ValueLearner(nn.Module):
    """A critic of its own as a learner."""

    def __init__(self, critic: Critic) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, sequences: Sequences) -> Outputs:
        """Values alone."""
        return None, self.critic(sequences)


class ActorCritic(nn.Module):
    """Policy and critic on one backbone under one forward: one wrapper (DDP) has to see both."""

    def __init__(self, policy: Any, critic: nn.Module, *, temperature: float) -> None:
        super().__init__()
        self.policy = policy
        self.critic = critic
        self.temperature = temperature

    def forward(self, sequences: Sequences) -> Outputs:
        """Both, each from a pass of its own."""
        logprobs = policy_logprobs(self.policy, sequences, temperature=self.temperature)
        return logprobs, self.critic(sequences)


class SharedTrunk(nn.Module):
    """A policy whose hidden states a value head reads too: one pass gives both."""

    def __init__(self, policy: Any, head: nn.Linear, *, temperature: float) -> None:
        super().__init__()
        self.policy = policy
        self.head = head
        self.temperature = temperature

    def forward(self, sequences: Sequences) -> Outputs:
        """Both, from one pass."""
        states, logits = states_and_logits(self.policy, sequences)
        flat = token_logprobs(logits, sequences.tokens, temperature=self.temperature)
        values = values_of_states(self.head, states, sequences)
        return sequences.as_columns(flat), values


def separate(
    config: PPOConfig, critic: Critic | None, checkpoint: Path | None, device: torch.device
) -> PPOModels:
    """Policy, critic (unless the estimator needs none) and reference, each a model of its own.

    Two learners: the activations of one are gone before those of the other are there.
    """
    policy = _trained_policy(config, checkpoint)
    policy.to(device)
    learners: list[nn.Module] = [Actor(policy, temperature=config.temperature)]
    if critic is not None:
        learners.append(ValueLearner(critic.to(device)))
    return PPOModels(
        policy=policy,
        critic=critic,
        learners=learners,
        reference=_frozen_copy(config, device),
        policy_parameters=list(policy.parameters()),
        value_parameters=[] if critic is None else list(critic.parameters()),
    )


def shared_trunk(
    config: PPOConfig, checkpoint: Path | None, device: torch.device, *, seed: int
) -> PPOModels:
    """One trunk for logits and values; the value loss moves the trunk as well."""
    policy = _trained_policy(config, checkpoint)
    head = fresh_head(policy, seed=seed)
    return PPOModels(
        policy=policy.to(device),
        critic=Critic(policy.base_model, head.to(device)),
        learners=[SharedTrunk(policy, head, temperature=config.temperature)],
        reference=_frozen_copy(config, device),
        policy_parameters=list(policy.parameters()),
        value_parameters=list(head.parameters()),
    )


def lora(
    config: PPOConfig, checkpoint: Path | None, device: torch.device, *, seed: int
) -> PPOModels:
    """One frozen backbone: an adapter is the policy, one with a head the critic, none the KL's."""
    adapters = ModelConfig(
        model_name_or_path=config.model_name_or_path,
        use_peft=True,
        lora_r=config.lora_r,
        lora_alpha=config.lora_alpha,
        lora_target_modules=config.lora_target_modules,
    )
    policy = policy_with_adapters(
        config.model_name_or_path,
        adapters,
        critic=config.has_critic,
        checkpoint=checkpoint,
        seed=seed,
    ).to(device)
    critic, temperature = None, config.temperature
    learner: nn.Module = Actor(policy, temperature=temperature)
    if config.has_critic:
        critic = AdapterCritic(policy, fresh_head(policy, seed=seed).to(device))
        learner = ActorCritic(policy, critic, temperature=temperature)
    return PPOModels(
        policy=policy,
        critic=critic,
        learners=[learner],
        reference=lambda: without_adapters(policy),
        policy_parameters=parameters_of(policy, POLICY),
        value_parameters=[]
        if critic is None
        else [*parameters_of(policy, CRITIC), *critic.head.parameters()],
    )


def shard_models(models: PPOModels, device: torch.device) -> PPOModels:
    """The models, in mode `separate` or `shared_trunk`, with their weights shared out (FSDP2).

    The reference too; the reward model stays whole on every process.
    """
    layers = inner_model(models.policy)._no_split_modules or []
    names = [
        _names_in(models.learners, parameters)
        for parameters in (models.policy_parameters, models.value_parameters)
    ]
    for learner in models.learners:
        shard(learner, layers, device)
    with models.reference() as reference:
        shard(reference, layers, device)
    trained = {
        (number, name): parameter
        for number, learner in enumerate(models.learners)
        for name, parameter in learner.named_parameters()
    }
    return replace(
        models,
        reference=lambda: _whole(reference),
        policy_parameters=[trained[key] for key in names[0]],
        value_parameters=[trained[key] for key in names[1]],
        sharded=True,
    )


def _names_in(learners: list[nn.Module], parameters: list[nn.Parameter]) -> list[tuple[int, str]]:
    """(index of the learner, name in it) of each parameter."""
    places = {
        id(parameter): (number, name)
        for number, learner in enumerate(learners)
        for name, parameter in learner.named_parameters()
    }
    return [places[id(parameter)] for parameter in parameters]


@contextmanager
def _whole(model: Any) -> Iterator[Any]:
    with whole(model):
        yield model


def _trained_policy(config: PPOConfig, checkpoint: Path | None) -> Any:
    """The policy with every weight to be trained, from `checkpoint` where there is one.

    A checkpoint's config names the pad token, and transformers then gives that token's embedding
    no gradient; the model the run began with may name none. A policy can sample that token, and
    a resumed run would go another way.
    """
    policy: Any = load_policy(checkpoint or config.model_name_or_path)
    policy.get_input_embeddings().padding_idx = None
    return policy


def _frozen_copy(config: PPOConfig, device: torch.device) -> Reference:
    model: Any = load_policy(config.model_name_or_path)
    model.to(device).eval().requires_grad_(False)
    return lambda: nullcontext(model)
