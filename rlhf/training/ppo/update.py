"""The update: passes over the experience in minibatches, one optimizer step each."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from rlhf.models.autocast import kept_casts
from rlhf.models.compiled import CompiledLayers
from rlhf.models.cpu_kernels.attention import reads_packed_rows
from rlhf.models.microbatches import microbatch_schedule, partition_rows
from rlhf.models.sequences import find_shared_prompts, sequences_of
from rlhf.ops.loss_means import loss_denominator
from rlhf.runtime.malloc import return_freed_memory
from rlhf.runtime.signals import whole_step
from rlhf.training.common.weight_checks import (
    Movement,
    Parts,
    check_trainable,
    check_zero_norm,
    wants_change,
)
from rlhf.training.ppo.compute import Compute
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.finite import check_norms
from rlhf.training.ppo.learner import Learner, make_learners
from rlhf.training.ppo.loss import policy_terms, value_terms
from rlhf.training.ppo.modes import PPOModels
from rlhf.training.ppo.ptx import Pretraining
from rlhf.training.ppo.zero_advantages import only_advantages_train, without_zero_advantages
from rlhf.types import Experience, Minibatch

SUMS = (
    "policy_loss",
    "value_loss",
    "kl_loss",
    "ratio",
    "approx_kl",
    "clip_fraction",
    "value_clip_fraction",
)
# Weighted as `loss_type` says; the others are means over the tokens of the rows that are read.
OF_THE_LOSS = ("policy_loss", "kl_loss")
OF_THE_CRITIC = ("value_loss", "value_clip_fraction", "value_grad_norm")


@dataclass(frozen=True, kw_only=True)
class OptimizerStep:
    """One minibatch, where it is in the run, and what its losses are scaled by."""

    experience: Experience
    rows: Tensor  # long [N], of the experience
    minibatch: Minibatch  # those rows
    iteration: int
    number: int  # of the optimizer step in the run, from 0
    num_tokens: Tensor  # that the model wrote, of the minibatch, over all ranks
    policy_scale: Tensor  # num_tokens / what the policy's loss is divided by; see `loss_type`
    kl_coef: float  # of the KL penalty in the loss
    trains_policy: bool  # False during the critic's warm-up


class PPOUpdater:
    """Trains policy and critic on experience: learners, the loop over minibatches, checks."""

    def __init__(
        self,
        accelerator: Accelerator,
        models: PPOModels,
        config: PPOConfig,
        compute: Compute,
        pretraining: Pretraining | None = None,
    ) -> None:
        self.accelerator, self.config, self.compute = accelerator, config, compute
        self.pretraining = pretraining
        self.sharded = models.sharded
        self.modules = models.modules
        self.layers = CompiledLayers(models.modules) if config.compile else None
        # Compiled layers would be compiled again for every new layout of rows.
        self.packed = not config.compile and all(
            reads_packed_rows(module.modules()) for module in models.modules
        )
        self.policy, self.critic = make_learners(accelerator, models, config.optim)
        parts: Parts = {learner.role: learner.parameters for learner in self.learners}
        check_trainable(parts, models.modules)
        self.movement = Movement(parts)

    @property
    def learners(self) -> list[Learner]:
        """The policy, and the critic where there is one."""
        return [self.policy] if self.critic is None else [self.policy, self.critic]

    @property
    def learners_by_module(self) -> list[list[Learner]]:
        """The learners of each module, the critic's module first.

        One module after the other: neither activations nor gradients of one are in memory while
        another computes.
        """
        if self.critic is None or self.critic.module is self.policy.module:
            return [self.learners]
        return [[self.critic], [self.policy]]

    def update(
        self, experience: Experience, *, step: int, seed: int, kl_coef: float
    ) -> dict[str, float]:
        """Train on `experience` (the rows of all ranks); returns the metrics of PPO's losses.

        Every rank calls this with the same experience; each computes its share of every
        minibatch. `num_minibatches` minibatches are as many optimizer steps per epoch, in a
        fresh order each epoch, whatever the microbatches and the number of ranks.

        Args:
            experience: rollouts with advantages and returns.
            step: the iteration, from 1.
            seed: with step and epoch, it determines the order of the rows.
            kl_coef: of the KL penalty, where it is in the loss.

        Raises:
            TrainingError: a gradient is not finite, or is 0 without a reason, before the step is
                taken; or the run's first step moves no weight. On all ranks.
        """
        self._set_learning_rates(step)
        return_freed_memory()  # by rollout and score; the peak is in the update
        for module in self.modules:
            module.train()
        minibatches = [
            rows
            for epoch in range(self.config.num_ppo_epochs)
            for rows in self._minibatches(len(experience.rewards), (seed, step, epoch))
        ]
        first = (step - 1) * len(minibatches)  # optimizer steps of earlier iterations
        with nullcontext() if self.layers is None else self.layers.on():
            steps = [
                self._optimizer_step(self._step_of(experience, rows, step, first + index, kl_coef))
                for index, rows in enumerate(minibatches)
            ]
        for module in self.modules:
            module.eval()
        return self._metrics(steps)

    def _minibatches(self, num_rows: int, key: tuple[int, ...]) -> Iterator[Tensor]:
        order = torch.from_numpy(np.random.default_rng(key).permutation(num_rows))
        yield from order.to(self.accelerator.device).tensor_split(self.config.num_minibatches)

    def _step_of(
        self, experience: Experience, rows: Tensor, iteration: int, number: int, kl_coef: float
    ) -> OptimizerStep:
        minibatch, config = experience.select(rows), self.config
        num_tokens = minibatch.action_mask.sum()
        denominator = loss_denominator(
            experience.loss_mask[rows],
            config.loss_type,
            max_length=config.max_completion_length,
            tokens_per_minibatch=experience.loss_mask.sum() / config.num_minibatches,
        )
        return OptimizerStep(
            experience=experience,
            rows=rows,
            minibatch=minibatch,
            iteration=iteration,
            number=number,
            num_tokens=num_tokens,
            policy_scale=num_tokens / denominator,
            kl_coef=kl_coef,
            trains_policy=iteration > config.critic_warmup_steps,
        )

    def _optimizer_step(self, step: OptimizerStep) -> dict[str, Tensor]:
        """One step of every learner: this rank's means per token, and the global norms."""
        minibatch = step.minibatch
        if only_advantages_train(self.config, step.kl_coef):
            minibatch = without_zero_advantages(minibatch, at_least=self.accelerator.num_processes)
        shared = None
        if self.packed:
            shared = find_shared_prompts(minibatch.prompt_ids, minibatch.prompt_mask)
        partition = partition_rows(
            minibatch.lengths,
            self.accelerator.num_processes,
            self.compute.microbatch_tokens,
            shared,
            grows=self.compute.microbatches_grow,
        )
        sums = torch.zeros(len(SUMS), device=step.num_tokens.device)
        self.wanted: dict[str, Tensor] = {
            learner.role: torch.zeros((), dtype=torch.bool, device=sums.device)
            for learner in self.learners
        }
        norms: dict[str, Tensor] = {}
        for learners in self.learners_by_module:
            schedule = microbatch_schedule(
                partition, self.accelerator.process_index, alike=self.sharded
            )
            with nullcontext() if self.sharded else kept_casts(self.compute.device):
                for rows, weight, last in schedule:
                    microbatch = minibatch.select(rows)
                    sums += self._backward(learners, microbatch, step, weight=weight, last=last)
            norms |= self._clip_and_step(learners, step)
        read = minibatch.action_mask.sum()
        divisors = [step.num_tokens if name in OF_THE_LOSS else read for name in SUMS]
        return {"sums": sums / torch.stack(divisors), **norms}

    def _backward(
        self,
        learners: Sequence[Learner],
        microbatch: Minibatch,
        step: OptimizerStep,
        *,
        weight: float,
        last: bool,
    ) -> Tensor:
        """Add the microbatch's gradients, times `weight`; returns its sums, in the order of SUMS.

        Args:
            learners: of one module.
            microbatch: rows of one forward pass.
            step: the optimizer step that they belong to.
            weight: 0 for a row that is repeated only so that ranks make equally many passes.
            last: whether it is the last microbatch of the step on this rank.
        """
        wrapped = learners[0].wrapped
        sequences = sequences_of(microbatch, packed=self.packed)
        sums = dict.fromkeys(SUMS, torch.zeros((), device=step.num_tokens.device))
        # DDP adds up gradients over ranks in the last backward pass only; FSDP in each, since
        # gradients that wait for it would be as large as the whole model.
        waits = not last and not self.sharded
        with self.accelerator.no_sync(wrapped) if waits else nullcontext():
            with self.compute.autocast():
                new_logprobs, new_values, entropies = wrapped(sequences)
            losses = []
            if new_logprobs is not None:
                loss, terms = policy_terms(
                    microbatch, new_logprobs, self.config, step.kl_coef, entropies
                )
                # Warm-up: in the graph with weight 0, since DDP waits for each gradient.
                losses.append(loss * (step.policy_scale if step.trains_policy else 0.0))
                sums |= terms
                for name in OF_THE_LOSS:
                    sums[name] = sums[name] * step.policy_scale
            if new_values is not None:
                loss, terms = value_terms(microbatch, new_values, self.config)
                losses.append(loss)
                sums |= terms
            # A sum over the global token count, which policy_scale cancels where loss_type divides
            # by another number. DDP and FSDP then average over ranks, hence the factor.
            scale = weight * self.accelerator.num_processes / step.num_tokens
            outputs = {"policy": new_logprobs, "critic": new_values}
            for output in outputs.values():
                if output is not None:
                    output.retain_grad()
            (sum(losses) * scale).backward()
        for role, output in outputs.items():
            if output is not None:
                change = wants_change(output, logprobs=role == "policy")
                self.wanted[role] = self.wanted[role] | change
        return weight * torch.stack([sums[name].detach() for name in SUMS])

    def _clip_and_step(self, learners: Sequence[Learner], step: OptimizerStep) -> dict[str, Tensor]:
        """Clip the gradients of a module's learners and step them; the norms before clipping."""
        metrics: dict[str, Tensor] = {}
        if self.pretraining is not None and self.policy in learners and step.trains_policy:
            metrics = self.pretraining.add_gradients(self.policy.parameters, step.number)
        norms = {
            learner.norm_name: learner.clip_gradients(self.config.max_grad_norm)
            for learner in learners
        }
        check_norms(
            norms,
            step.experience,
            step.rows,
            step.iteration,
            modules=self.modules,
            compute=self.compute,
            accelerator=self.accelerator,
        )
        for learner in learners:
            norm = float(norms[learner.norm_name])
            check_zero_norm(norm, self.wanted[learner.role], step.iteration, learner.role)
        for learner in learners:
            if learner is not self.policy or step.trains_policy:
                self.movement.before_step(learner.optimizer, learner.role)
                with whole_step():
                    learner.optimizer.step()
                self.movement.after_step(step.iteration, learner.optimizer)
        for parameter in learners[0].module.parameters():
            parameter.grad = None
        return {name: metric.detach() for name, metric in (metrics | norms).items()}

    def _set_learning_rates(self, step: int) -> None:
        """Constant within an iteration; linear to 0 over the run unless told otherwise."""
        config = self.config
        linear = config.lr_scheduler_type == "linear"
        left = 1 - (step - 1) / config.num_steps if linear else 1.0
        self.policy.set_learning_rate(left * config.learning_rate)
        if self.critic is not None:
            rate = config.value_learning_rate or config.learning_rate
            self.critic.set_learning_rate(left * rate)

    def _metrics(self, steps: list[dict[str, Tensor]]) -> dict[str, float]:
        """Means per token over ranks and minibatches, from one row of sums per optimizer step."""
        sums = self.accelerator.reduce(torch.stack([row["sums"] for row in steps]), "sum")
        metrics = dict(zip(SUMS, sums.mean(0).tolist(), strict=True))
        first = dict(zip(SUMS, sums[0].tolist(), strict=True))
        for name in steps[0].keys() - {"sums"}:
            metrics[name] = float(torch.stack([row[name] for row in steps]).mean())
        for name in OF_THE_CRITIC if self.critic is None else ():
            metrics.pop(name, None)
        if not self.config.kl_in_loss:
            metrics.pop("kl_loss")
        return metrics | {
            "first_ratio": first["ratio"],
            "first_approx_kl": first["approx_kl"],
            "first_clip_fraction": first["clip_fraction"],
            "learning_rate": self.policy.learning_rate,
        }
