"""A trained part of the run: policy or critic, with its parameters and their optimizer."""

from dataclasses import dataclass
from typing import Literal

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from rlhf.models.shard import full
from rlhf.training.common.config import Optim
from rlhf.training.common.optimizer import small_adamw
from rlhf.training.ppo.modes import PPOModels

Role = Literal["policy", "critic"]
ADAM_EPSILON = 1e-5  # as in OpenAI's PPO; with torch's 1e-8 a value's first steps are too large


@dataclass(frozen=True, kw_only=True)
class Learner:
    """One role. In modes lora and shared_trunk both roles share one module and its wrapper."""

    role: Role
    module: nn.Module  # Sequences -> Outputs
    wrapped: nn.Module  # the module as training calls it: in DDP, where there are several processes
    parameters: list[nn.Parameter]
    optimizer: torch.optim.Optimizer

    @property
    def norm_name(self) -> str:
        """The metric of this role's gradient norm."""
        return "grad_norm" if self.role == "policy" else "value_grad_norm"

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next optimizer step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def set_learning_rate(self, rate: float) -> None:
        """Use this learning rate from now on."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def clip_gradients(self, max_norm: float) -> Tensor:
        """Clip the gradients to `max_norm`; the norm before, over all ranks' shards."""
        return full(torch.nn.utils.clip_grad_norm_(self.parameters, max_norm))


def make_learners(
    accelerator: Accelerator, models: PPOModels, optim: Optim
) -> tuple[Learner, Learner | None]:
    """The policy's learner, and the critic's where there is a critic."""

    def wrap(module: nn.Module) -> nn.Module:
        return module if models.sharded else accelerator.prepare_model(module)

    policy = Learner(
        role="policy",
        module=models.policy_module,
        wrapped=wrap(models.policy_module),
        parameters=models.policy_parameters,
        optimizer=_adam(models.policy_parameters, optim),
    )
    if models.critic_module is None:
        return policy, None
    shared = models.critic_module is models.policy_module
    critic = Learner(
        role="critic",
        module=models.critic_module,
        wrapped=policy.wrapped if shared else wrap(models.critic_module),
        parameters=models.critic_parameters,
        optimizer=_adam(models.critic_parameters, optim),
    )
    return policy, critic


def _adam(parameters: list[nn.Parameter], optim: Optim) -> torch.optim.Optimizer:
    if optim != "adamw_torch":
        return small_adamw(parameters, optim, lr=0.0, eps=ADAM_EPSILON)
    return torch.optim.AdamW(parameters, lr=0.0, eps=ADAM_EPSILON, weight_decay=0.0, fused=True)
