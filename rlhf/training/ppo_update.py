"""The update: passes over the rollouts in minibatches, one optimizer step each."""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from rlhf.errors import TrainingError
from rlhf.models.forward import as_sequences, microbatches
from rlhf.ops.losses import policy_loss, value_loss
from rlhf.training.ppo_config import PPOConfig
from rlhf.training.ppo_figures import shown
from rlhf.training.ppo_models import ActorCritic, PPOModels, autocast, computes_in_bf16
from rlhf.types import Experience

ADAM_EPSILON = 1e-5  # as in OpenAI's PPO; torch's 1e-8 lets the first steps of a value grow
SUMS = (
    "policy_loss",
    "value_loss",
    "ratio",
    "approx_kl",
    "clip_fraction",
    "value_clip_fraction",
)


class Updater:
    """Policy and critic as they are trained: wrapper, optimizers, the loop over minibatches."""

    def __init__(self, accelerator: Accelerator, models: PPOModels, config: PPOConfig) -> None:
        self.accelerator = accelerator
        self.config = config
        self.policy, self.critic = models.policy, models.critic
        joint = ActorCritic(models.policy, models.critic, temperature=config.temperature)
        self.model: Any = accelerator.prepare_model(joint)
        self.policy_optimizer = _adam(self.policy)
        self.value_optimizer = _adam(self.critic)

    def update(self, experience: Experience, *, step: int, seed: int) -> dict[str, float]:
        """Train on `experience` (the rows of all ranks) and return the figures of PPO's losses.

        Every rank calls this with the same experience; each computes its share of every
        minibatch. `num_minibatches` minibatches are as many optimizer steps per epoch, in a
        fresh order each epoch, whatever the microbatches and the number of ranks.

        Raises:
            TrainingError: a gradient is not finite; on all ranks, before the step is taken.
        """
        self._set_learning_rates(step)
        self.model.train()
        rows = [
            self._optimizer_step(experience, minibatch, step)
            for epoch in range(self.config.num_ppo_epochs)
            for minibatch in self._minibatches(len(experience.rewards), (seed, step, epoch))
        ]
        self.model.eval()
        return self._figures(torch.stack(rows))

    def _minibatches(self, num_rows: int, key: tuple[int, ...]) -> Iterator[Tensor]:
        order = torch.from_numpy(np.random.default_rng(key).permutation(num_rows))
        yield from order.to(self.accelerator.device).chunk(self.config.num_minibatches)

    def _optimizer_step(self, experience: Experience, minibatch: Tensor, step: int) -> Tensor:
        """One step on the minibatch's rows; this rank's sums and the global norms, float [9]."""
        rollouts = experience.rollouts
        num_tokens = rollouts.response_mask[minibatch].sum()  # over all ranks
        lengths = rollouts.batch.attention_mask.sum(1) + rollouts.response_mask.sum(1)
        # Sorted by length and dealt out in turn, so that ranks get like amounts of work.
        by_length = minibatch[lengths[minibatch].argsort(descending=True, stable=True)]
        mine = by_length[self.accelerator.process_index :: self.accelerator.num_processes]
        groups = microbatches(lengths[mine], self.config.max_tokens_per_microbatch)
        sums = torch.zeros(len(SUMS), device=num_tokens.device)
        for number, group in enumerate(groups):
            # DDP adds up gradients over ranks in the last backward pass alone.
            last = number == len(groups) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                sums += self._backward(experience, mine[group], num_tokens, step)
        norms = self._clip_and_step(experience, minibatch, step)
        return torch.cat([sums, norms, num_tokens[None].float()])

    def _backward(
        self, experience: Experience, rows: Tensor, num_tokens: Tensor, step: int
    ) -> Tensor:
        """Add these rows' gradients; returns the sums that SUMS names."""
        rollouts, config = experience.rollouts, self.config
        mask = rollouts.response_mask[rows]
        sequences = as_sequences(
            rollouts.batch.input_ids[rows],
            rollouts.batch.attention_mask[rows],
            rollouts.response_ids[rows],
            mask,
        )
        with autocast(self.accelerator.device, computes_in_bf16(config)):
            new_logprobs, new_values = self.model(sequences)
        policy = policy_loss(
            new_logprobs,
            rollouts.logprobs[rows],
            experience.advantages[rows],
            mask,
            clip_range=config.clip_range,
            dual_clip=config.dual_clip,
        )
        value = value_loss(
            new_values,
            experience.values[rows],
            experience.returns[rows],
            mask,
            value_clip_range=config.value_clip_range,
        )
        # Warm-up: the policy stays in the graph with weight 0, since DDP waits for each gradient.
        policy_weight = 0.0 if step <= config.critic_warmup_steps else 1.0
        loss = policy_weight * policy.loss + config.vf_coef * value.loss
        # A sum over the global token count; DDP then averages over ranks, hence the factor.
        (loss * self.accelerator.num_processes / num_tokens).backward()
        figures = (policy.loss, value.loss, policy.ratio, policy.approx_kl, policy.clipped)
        return torch.stack([*figures, value.clipped]).detach()

    def _clip_and_step(self, experience: Experience, minibatch: Tensor, step: int) -> Tensor:
        """Clip and step both optimizers; the norms before clipping, float [2]."""
        limit = self.config.max_grad_norm
        norms = torch.stack(
            [
                torch.nn.utils.clip_grad_norm_(self.policy.parameters(), limit),
                torch.nn.utils.clip_grad_norm_(self.critic.parameters(), limit),
            ]
        ).detach()
        if not norms.isfinite().all():
            raise TrainingError(_not_finite(norms, experience, minibatch, step))
        if step > self.config.critic_warmup_steps:
            self.policy_optimizer.step()
        self.value_optimizer.step()
        self.policy_optimizer.zero_grad()
        self.value_optimizer.zero_grad()
        return norms

    def _set_learning_rates(self, step: int) -> None:
        """Constant within an iteration; linear to 0 over the run unless told otherwise."""
        config = self.config
        linear = config.lr_scheduler_type == "linear"
        left = 1 - (step - 1) / config.num_steps if linear else 1.0
        value_rate = config.value_learning_rate or config.learning_rate
        for group in self.policy_optimizer.param_groups:
            group["lr"] = left * config.learning_rate
        for group in self.value_optimizer.param_groups:
            group["lr"] = left * value_rate

    def _figures(self, rows: Tensor) -> dict[str, float]:
        """Means per token over ranks and minibatches, from one row of sums per optimizer step."""
        sums, norms, num_tokens = rows[:, : len(SUMS)], rows[:, len(SUMS) : -1], rows[:, -1:]
        sums = self.accelerator.reduce(sums, "sum") / num_tokens
        figures = dict(zip(SUMS, sums.mean(0).tolist(), strict=True))
        first = dict(zip(SUMS, sums[0].tolist(), strict=True))
        grad_norm, value_grad_norm = norms.mean(0).tolist()
        return figures | {
            "first_ratio": first["ratio"],
            "first_clip_fraction": first["clip_fraction"],
            "grad_norm": grad_norm,
            "value_grad_norm": value_grad_norm,
            "learning_rate": self.policy_optimizer.param_groups[0]["lr"],
        }


def _adam(module: torch.nn.Module) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        module.parameters(), lr=0.0, eps=ADAM_EPSILON, weight_decay=0.0, fused=True
    )


def _not_finite(norms: Tensor, experience: Experience, minibatch: Tensor, step: int) -> str:
    which = [n for n, x in zip(("policy", "critic"), norms.isfinite(), strict=True) if not x]
    rows = sorted(minibatch.tolist())
    prompts = shown([experience.rollouts.batch.prompts[row] for row in rows], 3)
    return (
        f"step {step}: the gradient of the {' and '.join(which)} is not finite and the step was "
        f"not taken (rows {rows[:8]}…, prompts {prompts}…); lower learning_rate or try "
        "--bf16 false, and go on from the last checkpoint."
    )
