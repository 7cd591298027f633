"""The update: passes over the rollouts in minibatches, one optimizer step each."""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from rlhf.models.compiled import CompiledLayers
from rlhf.models.cpu_kernels.attention import reads_packed_rows
from rlhf.models.forward import microbatch_schedule, partition_rows, sequences_of
from rlhf.models.shard import full
from rlhf.training.common.weight_checks import (
    Movement,
    check_trainable,
    check_zero_norm,
    wants_change,
)
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.finite import check_norms
from rlhf.training.ppo.models import autocast, computes_in_bf16
from rlhf.training.ppo.modes import PPOModels
from rlhf.training.ppo.ptx import Pretraining
from rlhf.training.ppo.terms import policy_term, value_term
from rlhf.types import Experience

ADAM_EPSILON = 1e-5  # as in OpenAI's PPO; torch's 1e-8 lets the first steps of a value grow
SUMS = (
    "policy_loss",
    "value_loss",
    "kl_loss",
    "ratio",
    "approx_kl",
    "clip_fraction",
    "value_clip_fraction",
)
NORMS = ("grad_norm", "value_grad_norm")
OF_THE_CRITIC = ("value_loss", "value_clip_fraction", "value_grad_norm")


class PPOUpdater:
    """Policy and critic as they are trained: wrapper, optimizers, the loop over minibatches."""

    def __init__(
        self,
        accelerator: Accelerator,
        models: PPOModels,
        config: PPOConfig,
        pretraining: Pretraining | None = None,
    ) -> None:
        self.accelerator = accelerator
        self.config = config
        self.policy_parameters = models.policy_parameters
        self.value_parameters = models.value_parameters
        self.pretraining = pretraining
        self.learners = models.learners
        self.sharded = models.sharded
        self.layers = CompiledLayers(models.learners) if config.compile else None
        # Compiled layers would compile anew where rows lie otherwise.
        self.packed = not config.compile and all(map(reads_packed_rows, models.learners))
        self.wrapped: list[Any] = models.learners
        if not self.sharded:
            self.wrapped = [accelerator.prepare_model(each) for each in models.learners]
        parts = {"policy": models.policy_parameters}
        if models.critic is not None:
            parts["critic"] = models.value_parameters
        check_trainable(parts, models.learners)
        self.movement = Movement(parts)
        self.policy_optimizer = _adam(models.policy_parameters)
        self.value_optimizer = _adam(models.value_parameters) if models.critic else None

    def update(self, experience: Experience, *, step: int, seed: int) -> dict[str, float]:
        """Train on `experience` (the rows of all ranks) and return the figures of PPO's losses.

        Every rank calls this with the same experience; each computes its share of every
        minibatch. `num_minibatches` minibatches are as many optimizer steps per epoch, in a
        fresh order each epoch, whatever the microbatches and the number of ranks.

        Raises:
            TrainingError: a gradient is not finite, or is 0 without a reason, before the step is
                taken; or the run's first step moves no weight. On all ranks.
        """
        self._set_learning_rates(step)
        for learner in self.learners:
            learner.train()
        minibatches = [
            minibatch
            for epoch in range(self.config.num_ppo_epochs)
            for minibatch in self._minibatches(len(experience.rewards), (seed, step, epoch))
        ]
        before = (step - 1) * len(minibatches)  # optimizer steps of earlier iterations
        with nullcontext() if self.layers is None else self.layers.on():
            steps = [
                self._optimizer_step(experience, minibatch, step, before + index)
                for index, minibatch in enumerate(minibatches)
            ]
        for learner in self.learners:
            learner.eval()
        return self._figures(steps)

    def _minibatches(self, num_rows: int, key: tuple[int, ...]) -> Iterator[Tensor]:
        order = torch.from_numpy(np.random.default_rng(key).permutation(num_rows))
        yield from order.to(self.accelerator.device).tensor_split(self.config.num_minibatches)

    def _optimizer_step(
        self, experience: Experience, minibatch: Tensor, step: int, number: int
    ) -> dict[str, Tensor]:
        """One step on the minibatch's rows: this rank's means per token, and the global norms."""
        rollouts = experience.rollouts
        num_tokens = rollouts.response_mask[minibatch].sum()  # over all ranks
        lengths = rollouts.batch.attention_mask.sum(1) + rollouts.response_mask.sum(1)
        dealt = partition_rows(
            lengths[minibatch], self.accelerator.num_processes, self.config.microbatch_tokens
        )
        sums = torch.zeros(len(SUMS), device=num_tokens.device)
        self.asked = dict.fromkeys(NORMS, torch.zeros((), dtype=torch.bool, device=sums.device))
        figures: dict[str, Tensor] = {}
        # Learner after learner, the critic first: neither activations nor gradients of one are
        # there while another computes.
        for learner in reversed(self.wrapped):
            mine = microbatch_schedule(dealt, self.accelerator.process_index, alike=self.sharded)
            for group, weight, last in mine:
                rows = minibatch[group]
                sums += self._backward(
                    learner, experience, rows, num_tokens, step, weight=weight, last=last
                )
            figures |= self._clip_and_step(learner, experience, minibatch, step, number)
        return {"sums": sums / num_tokens, **figures}

    def _backward(
        self,
        learner: Any,
        experience: Experience,
        rows: Tensor,
        num_tokens: Tensor,
        step: int,
        *,
        weight: float,
        last: bool,
    ) -> Tensor:
        """Add these rows' gradients, times `weight`; returns the sums that SUMS names, likewise."""
        sequences = sequences_of(experience.rollouts, rows, packed=self.packed)
        config = self.config
        figures = dict.fromkeys(SUMS, torch.zeros((), device=num_tokens.device))
        # DDP adds up gradients over ranks in the last backward pass alone; FSDP in each, since
        # gradients that wait for it would be as large as the whole model.
        waits = not last and not self.sharded
        with self.accelerator.no_sync(learner) if waits else nullcontext():
            with autocast(self.accelerator.device, computes_in_bf16(config)):
                new_logprobs, new_values = learner(sequences)
            losses = []
            if new_logprobs is not None:
                loss, sums = policy_term(experience, rows, new_logprobs, config)
                # Warm-up: in the graph with weight 0, since DDP waits for each gradient.
                losses.append(loss * (0.0 if step <= config.critic_warmup_steps else 1.0))
                figures |= sums
            if new_values is not None:
                loss, sums = value_term(experience, rows, new_values, config)
                losses.append(loss)
                figures |= sums
            # A sum over the global token count. DDP and FSDP then average over ranks, hence the
            # factor.
            scale = weight * self.accelerator.num_processes / num_tokens
            outputs = dict(zip(NORMS, (new_logprobs, new_values), strict=True))
            for output in outputs.values():
                if output is not None:
                    output.retain_grad()
            (sum(losses) * scale).backward()
        for norm, output in outputs.items():
            if output is not None:
                self.asked[norm] = self.asked[norm] | wants_change(
                    output, logprobs=output is new_logprobs
                )
        return weight * torch.stack([figures[name].detach() for name in SUMS])

    def _clip_and_step(
        self, learner: Any, experience: Experience, minibatch: Tensor, step: int, number: int
    ) -> dict[str, Tensor]:
        """Clip and step the optimizers of what this learner trains; the norms before clipping."""
        figures: dict[str, Tensor] = {}
        policy, warm_up = learner is self.wrapped[0], step <= self.config.critic_warmup_steps
        critic = self.value_optimizer if learner is self.wrapped[-1] else None
        if policy and self.pretraining is not None and not warm_up:
            figures = self.pretraining.add_gradients(self.policy_parameters, number)
        limit = self.config.max_grad_norm
        if policy:
            figures["grad_norm"] = _clip(self.policy_parameters, limit)
        if critic is not None:
            figures["value_grad_norm"] = _clip(self.value_parameters, limit)
        check_norms(
            {name: figures[name] for name in NORMS if name in figures},
            experience,
            minibatch,
            step,
            learners=self.learners,
            config=self.config,
            accelerator=self.accelerator,
        )
        for norm, part in zip(NORMS, ("policy", "critic"), strict=True):
            if norm in figures:
                check_zero_norm(float(figures[norm]), self.asked[norm], step, part)
        if policy and not warm_up:
            self._step(self.policy_optimizer, "policy", step)
        if critic is not None:
            self._step(critic, "critic", step)
        for parameter in learner.parameters():
            parameter.grad = None
        return {name: figure.detach() for name, figure in figures.items()}

    def _step(self, optimizer: torch.optim.Optimizer, part: str, step: int) -> None:
        self.movement.before_step(optimizer, part)
        optimizer.step()
        self.movement.after_step(step, optimizer)

    def _set_learning_rates(self, step: int) -> None:
        """Constant within an iteration; linear to 0 over the run unless told otherwise."""
        config = self.config
        linear = config.lr_scheduler_type == "linear"
        left = 1 - (step - 1) / config.num_steps if linear else 1.0
        for group in self.policy_optimizer.param_groups:
            group["lr"] = left * config.learning_rate
        if self.value_optimizer is not None:
            for group in self.value_optimizer.param_groups:
                group["lr"] = left * (config.value_learning_rate or config.learning_rate)

    def _figures(self, steps: list[dict[str, Tensor]]) -> dict[str, float]:
        """Means per token over ranks and minibatches, from one row of sums per optimizer step."""
        sums = self.accelerator.reduce(torch.stack([row["sums"] for row in steps]), "sum")
        figures = dict(zip(SUMS, sums.mean(0).tolist(), strict=True))
        first = dict(zip(SUMS, sums[0].tolist(), strict=True))
        for name in steps[0].keys() - {"sums"}:
            figures[name] = float(torch.stack([row[name] for row in steps]).mean())
        for name in OF_THE_CRITIC if self.value_optimizer is None else ():
            figures.pop(name, None)
        if not self.config.kl_in_loss:
            figures.pop("kl_loss")
        return figures | {
            "first_ratio": first["ratio"],
            "first_approx_kl": first["approx_kl"],
            "first_clip_fraction": first["clip_fraction"],
            "learning_rate": self.policy_optimizer.param_groups[0]["lr"],
        }


def _clip(parameters: list[torch.nn.Parameter], limit: float) -> Tensor:
    """Clip the gradients to this norm; the norm before, over all ranks' shares of them."""
    return full(torch.nn.utils.clip_grad_norm_(parameters, limit))


def _adam(parameters: list[torch.nn.Parameter]) -> torch.optim.AdamW:
    return torch.optim.AdamW(parameters, lr=0.0, eps=ADAM_EPSILON, weight_decay=0.0, fused=True)
