"""Proximal policy optimization of a language model against a reward, top to bottom.

Schulman et al. 2017 (PPO), Ziegler et al. 2019, Stiennon et al. 2020, Ouyang et al. 2022, Huang
et al. 2024 (implementation details). One iteration:

    prompts -> rollout -> score -> evaluate -> [rows of all ranks] -> shape -> advantage
            -> update -> log -> checkpoint

Everything random is a function of (seed, iteration, row), so that the number of processes, the
batches and an interruption change nothing of what is sampled.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import gather_object
from safetensors.torch import load_file, save_file

from rlhf.data.chat import decode, prompt_ids
from rlhf.data.tokenizer import ChatTokenizer
from rlhf.errors import CheckpointError, ConfigError
from rlhf.launch import SigtermFlag, Stopped
from rlhf.models.forward import evaluate_rows, response_logprobs
from rlhf.models.generate import generate, prompt_batch
from rlhf.models.save import save_policy
from rlhf.ops.advantages import gae
from rlhf.ops.kl import estimate_kl
from rlhf.ops.rewards import judge_unfinished, penalized_rewards
from rlhf.ops.whitening import whiten
from rlhf.run_folder import RunConfig
from rlhf.training.checkpoint import random_state, restore_random_state, save_checkpoint
from rlhf.training.kl_controller import next_kl_coef
from rlhf.training.metrics import MetricsWriter, forget_after
from rlhf.training.ppo_config import PPOConfig
from rlhf.training.ppo_figures import (
    Clock,
    held_out_figures,
    rollout_figures,
    value_figures,
)
from rlhf.training.ppo_gather import gather_rows
from rlhf.training.ppo_models import autocast, computes_in_bf16, load_models
from rlhf.training.ppo_update import Updater
from rlhf.types import Evaluated, Experience, PromptBatch, PromptRow, Rollouts

HELD_OUT = -1  # the iteration that keys held-out sampling: the same noise at every evaluation
STATE, CRITIC = "trainer.pt", "critic.safetensors"


@dataclass(frozen=True)
class Progress:
    """How far the run is. With weights, optimizers and random states it is all of its state."""

    step: int = 0
    episodes: int = 0
    kl_coef: float = 0.0


@dataclass(frozen=True, kw_only=True)
class PPOResult:
    """What a finished run has to tell. `before` and `after` answer the same held-out prompts."""

    progress: Progress
    before: Evaluated
    after: Evaluated
    stopped_early: str  # a sentence; empty where the run went to its end


class PPOTrainer:
    """One run. Every process makes one, with the same arguments."""

    def __init__(
        self,
        run: RunConfig,
        config: PPOConfig,
        chat: ChatTokenizer,
        prompts: Sequence[PromptRow],
        held_out: Sequence[PromptRow],
        *,
        checkpoint: Path | None,
        write_manifest: Callable[[Path], None],
        report: Callable[[int, dict[str, float]], None],
    ) -> None:
        # Buffers are the same everywhere and never change: broadcasting them at each forward
        # would hang where ranks have different numbers of microbatches.
        ddp = DistributedDataParallelKwargs(broadcast_buffers=False)
        self.accelerator = Accelerator(mixed_precision="no", kwargs_handlers=[ddp])
        self.device = self.accelerator.device
        self.run, self.config, self.chat = run, config, chat
        self.prompts, self.held_out = prompts, held_out
        self.write_manifest, self.report = write_manifest, report
        _check_processes(config, len(held_out), self.accelerator.num_processes)
        self.models = load_models(config, chat, checkpoint, seed=run.seed, device=self.device)
        self.updater = Updater(self.accelerator, self.models, config)
        self.progress = Progress(kl_coef=config.kl_coef)
        if checkpoint is not None:
            self.load_state(checkpoint)
        forget_after(Path(run.output_dir), self.progress.step)
        self.metrics = MetricsWriter(Path(run.output_dir), run.report_to)

    def train(self) -> PPOResult:
        """Run to the end, or to the KL budget; the trained policy is `self.models.policy`.

        Raises:
            Stopped: SIGTERM came; a checkpoint of this step was written.
            TrainingError: a reward or a gradient that cannot be used.
        """
        config, sigterm, stopped_early = self.config, SigtermFlag(), ""
        if self.progress.step == 0 and config.eval_data is not None:
            self.metrics.write(0, held_out_figures(self.answer_held_out()), episode=0)
        for step in range(self.progress.step + 1, config.num_steps + 1):
            clock = Clock()
            batch = self.next_prompts(step)
            rollouts = self.roll_out(self.models.policy, batch, step)
            clock.lap("seconds_rollout")
            evaluated = self.evaluate(rollouts)
            clock.lap("seconds_score")
            figures = rollout_figures(evaluated) | {"kl_coef": self.progress.kl_coef}
            if config.kl_budget is not None and figures["kl"] > config.kl_budget:
                stopped_early = (
                    f"KL {figures['kl']:.2f} nats per sequence passed kl_budget "
                    f"{config.kl_budget} before step {step}; the run stopped there."
                )
                break
            experience = self.experience(evaluated)
            figures |= value_figures(experience)
            figures |= self.updater.update(experience, step=step, seed=self.run.seed)
            clock.lap("seconds_update")
            self.check_first_ratio(step, figures["first_ratio"])
            self.advance(step, figures["kl"])

            if step % config.eval_steps == 0 and config.eval_data is not None:
                figures |= held_out_figures(self.answer_held_out())
            figures |= clock.speeds(experience)
            if step % config.logging_steps == 0 or step == config.num_steps:
                self.metrics.write(step, figures, episode=self.progress.episodes)
            self.report(step, figures)
            stop = self.any_process(bool(sigterm))
            if step % config.save_steps == 0 or stop:
                self.save()
            if stop:
                raise Stopped(
                    f"stopped by SIGTERM after step {step}; go on with "
                    f"--resume_from_checkpoint latest."
                )
        before = self.answer_held_out(self.models.reference)
        return PPOResult(
            progress=self.progress,
            before=before,
            after=self.answer_held_out(),
            stopped_early=stopped_early,
        )

    def next_prompts(self, step: int) -> PromptBatch:
        """This process's prompts of iteration `step`, `num_generations` rows each.

        The data are walked through in a fresh order each epoch; where in them an iteration
        stands follows from its number.
        """
        count, total = self.config.num_prompts, len(self.prompts)
        rows = []
        for place in range((step - 1) * count, step * count):
            order = np.random.default_rng((self.run.seed, place // total)).permutation(total)
            rows.append(self.prompts[order[place % total]])
        return self.as_batch(rows, self.config.num_generations)

    def as_batch(self, rows: Sequence[PromptRow], num_generations: int) -> PromptBatch:
        """This process's share of `rows`, dealt out by length so that ranks get like amounts."""
        encoded = [prompt_ids(self.chat, row.prompt) for row in rows]
        by_length = sorted(range(len(rows)), key=lambda index: len(encoded[index]))
        mine = by_length[self.accelerator.process_index :: self.accelerator.num_processes]
        return prompt_batch(
            [encoded[index] for index in mine],
            [rows[index].prompt for index in mine],
            prompt_indices=mine,
            num_responses=num_generations,
            pad_token_id=self.chat.pad_token_id,
            device=self.device,
            columns=[rows[index].columns for index in mine],
        )

    def roll_out(self, policy: Any, batch: PromptBatch, iteration: int) -> Rollouts:
        """A sampled response to every row, with the log-probs it was sampled with."""
        with autocast(self.device, computes_in_bf16(self.config)):
            generated = generate(
                policy,
                batch,
                max_new_tokens=self.config.max_completion_length,
                temperature=self.config.temperature,
                eos_token_ids=self.chat.eos_token_ids,
                pad_token_id=self.chat.pad_token_id,
                seed=self.run.seed,
                iteration=iteration,
            )
        lengths = generated.response_mask.sum(1).tolist()
        ids = generated.response_ids.tolist()
        texts = [decode(self.chat, row[:n]) for row, n in zip(ids, lengths, strict=True)]
        return Rollouts(
            batch=batch,
            response_ids=generated.response_ids,
            response_mask=generated.response_mask,
            logprobs=generated.logprobs,
            entropies=generated.entropies,
            ended_with_eos=generated.ended_with_eos,
            texts=texts,
        )

    def evaluate(self, rollouts: Rollouts) -> Evaluated:
        """Scores, log-probs of the reference, values; of the rows of all processes."""
        batch, config = rollouts.batch, self.config
        scores = self.models.reward.score(batch.prompts, rollouts.texts, batch.columns)
        scores = replace(scores, scores=scores.scores.to(self.device))
        limit = config.max_tokens_per_microbatch
        ids, mask = rollouts.response_ids, rollouts.response_mask
        with autocast(self.device, computes_in_bf16(config)):
            ref_logprobs = response_logprobs(
                self.models.reference,
                batch,
                ids,
                mask,
                temperature=config.temperature,
                max_tokens=limit,
            )
            values = evaluate_rows(self.models.critic, batch, ids, mask, max_tokens=limit)
        local = Evaluated(
            rollouts=rollouts, scores=scores, ref_logprobs=ref_logprobs, values=values
        )
        return gather_rows(local, self.accelerator.num_processes)

    def experience(self, evaluated: Evaluated) -> Experience:
        """Per-token rewards, advantages (whitened over the rows of all ranks), returns."""
        config, rollouts = self.config, evaluated.rollouts
        mask = rollouts.response_mask
        scores = judge_unfinished(
            evaluated.scores.scores,
            rollouts.ended_with_eos,
            missing_eos_penalty=config.missing_eos_penalty,
            missing_eos_score=config.missing_eos_score,
        )
        if config.reward_clip is not None:
            scores = scores.clamp(-config.reward_clip, config.reward_clip)
        kl = estimate_kl(rollouts.logprobs, evaluated.ref_logprobs, estimator=config.kl_estimator)
        rewards = penalized_rewards(scores, kl, mask, kl_coef=self.progress.kl_coef)
        if config.whiten_rewards:
            rewards = whiten(rewards, mask, shift_mean=False)
        advantages, returns = gae(
            rewards, evaluated.values, mask, gamma=config.gamma, lam=config.lam
        )
        return Experience(
            rollouts=rollouts,
            values=evaluated.values,
            rewards=rewards,
            advantages=whiten(advantages, mask),
            returns=returns,
        )

    def check_first_ratio(self, step: int, ratio: float) -> None:
        """Say so where the policy that is trained is not the one that was sampled from.

        Before the first optimizer step of an iteration both are the same weights.
        """
        limit = 1e-2 if computes_in_bf16(self.config) else 1e-4
        if abs(ratio - 1) > limit:
            self.accelerator.print(
                f"warning: step {step} began with a mean ratio of {ratio:.5f}, not 1 ± {limit}: "
                "sampling and training compute different log-probs; try --bf16 false."
            )

    def advance(self, step: int, kl: float) -> None:
        """Count the iteration and adapt the KL coefficient."""
        config, kl_coef = self.config, self.progress.kl_coef
        if config.target_kl is not None:
            kl_coef = next_kl_coef(
                kl_coef,
                kl=kl,
                target_kl=config.target_kl,
                num_samples=config.rollout_batch_size,
                horizon=config.kl_horizon,
            )
        episodes = self.progress.episodes + config.rollout_batch_size
        self.progress = Progress(step=step, episodes=episodes, kl_coef=kl_coef)

    def answer_held_out(self, policy: Any = None) -> Evaluated:
        """One answer to each held-out prompt, always with the same noise."""
        batch = self.as_batch(self.held_out, 1)
        return self.evaluate(self.roll_out(policy or self.models.policy, batch, HELD_OUT))

    def any_process(self, flag: bool) -> bool:
        """Whether `flag` is set on any process: all have to stop at the same step."""
        votes = torch.tensor(float(flag), device=self.device)
        return bool(self.accelerator.reduce(votes, "sum").item())

    def save(self) -> None:
        """Write checkpoint-N: a policy that loads as it is, and all the rest of the state."""
        states = gather_object([random_state()])
        if self.accelerator.is_main_process:
            save_checkpoint(
                Path(self.run.output_dir),
                self.progress.step,
                lambda folder: self._write_state(folder, states),
                save_total_limit=self.config.save_total_limit,
            )
        self.accelerator.wait_for_everyone()

    def _write_state(self, folder: Path, random_states: list[dict[str, Any]]) -> None:
        save_policy(folder, self.models.policy, self.chat)
        self.write_manifest(folder)
        save_file(_contiguous(self.models.critic.state_dict()), folder / CRITIC)
        state = {
            "step": self.progress.step,
            "episodes": self.progress.episodes,
            "kl_coef": self.progress.kl_coef,
            "fixed": self._fixed(),
            "random_states": random_states,
            "policy_optimizer": self.updater.policy_optimizer.state_dict(),
            "value_optimizer": self.updater.value_optimizer.state_dict(),
        }
        torch.save(state, folder / STATE)

    def load_state(self, checkpoint: Path) -> None:
        """Everything but the policy's weights, which `load_models` took from the checkpoint.

        Raises:
            CheckpointError: it belongs to a run over other data or with other batches.
        """
        state = torch.load(checkpoint / STATE, map_location="cpu", weights_only=True)
        for name, value in self._fixed().items():
            if state["fixed"][name] != value:
                raise CheckpointError(
                    f"{checkpoint} was made with {name}={state['fixed'][name]}, this run has "
                    f"{value}: it would walk through other data; give the same value."
                )
        self.models.critic.load_state_dict(load_file(checkpoint / CRITIC))
        self.updater.policy_optimizer.load_state_dict(state["policy_optimizer"])
        self.updater.value_optimizer.load_state_dict(state["value_optimizer"])
        states = state["random_states"]
        if len(states) == self.accelerator.num_processes:
            restore_random_state(states[self.accelerator.process_index])
        self.progress = Progress(state["step"], state["episodes"], state["kl_coef"])

    def _fixed(self) -> dict[str, int]:
        """What decides which prompts and which noise an iteration gets."""
        return {
            "seed": self.run.seed,
            "rollout_batch_size": self.config.rollout_batch_size,
            "num_generations": self.config.num_generations,
            "rows of train_data": len(self.prompts),
        }


def _check_processes(config: PPOConfig, num_held_out: int, num_processes: int) -> None:
    for name, count in (
        ("prompts per iteration (rollout_batch_size / num_generations)", config.num_prompts),
        ("responses per minibatch (rollout_batch_size / num_minibatches)", config.minibatch_size),
        ("held-out prompts (eval_data, num_eval_prompts)", num_held_out),
    ):
        if count < num_processes:
            raise ConfigError(
                f"{count} {name} do not give {num_processes} processes one each; "
                "raise it or launch fewer processes."
            )


def _contiguous(state: dict[str, Any]) -> dict[str, Any]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
