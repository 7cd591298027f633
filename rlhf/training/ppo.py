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

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import gather_object

from rlhf.data.tokenizer import ChatTokenizer
from rlhf.errors import ConfigError
from rlhf.launch import SigtermFlag, Stopped
from rlhf.models.forward import evaluate_rows, response_logprobs
from rlhf.models.save import save_policy
from rlhf.run_folder import RunConfig
from rlhf.training.checkpoint import random_state, save_checkpoint
from rlhf.training.kl_controller import next_kl_coef
from rlhf.training.metrics import MetricsWriter, forget_after
from rlhf.training.ppo_config import PPOConfig
from rlhf.training.ppo_experience import make_experience
from rlhf.training.ppo_figures import (
    Clock,
    held_out_figures,
    rollout_figures,
    value_figures,
)
from rlhf.training.ppo_gather import gather_rows
from rlhf.training.ppo_models import autocast, computes_in_bf16, load_models
from rlhf.training.ppo_rollout import roll_out, rows_of_step, share_of_process
from rlhf.training.ppo_state import Progress, read_state, write_state
from rlhf.training.ppo_update import Updater
from rlhf.types import Evaluated, Experience, PromptBatch, PromptRow, Rollouts

HELD_OUT = -1  # the iteration that keys held-out sampling: the same noise at every evaluation


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
        self.fixed = {  # what decides which prompts and which noise an iteration gets
            "seed": run.seed,
            "rollout_batch_size": config.rollout_batch_size,
            "num_generations": config.num_generations,
            "rows of train_data": len(prompts),
        }
        self.progress = Progress(kl_coef=config.kl_coef)
        if checkpoint is not None:
            self.progress = read_state(
                checkpoint,
                self.models,
                self.updater,
                fixed=self.fixed,
                process_index=self.accelerator.process_index,
                num_processes=self.accelerator.num_processes,
            )
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
        """This process's prompts of iteration `step`, `num_generations` rows each."""
        rows = rows_of_step(
            self.prompts, step, num_prompts=self.config.num_prompts, seed=self.run.seed
        )
        return self.as_batch(rows, self.config.num_generations)

    def as_batch(self, rows: Sequence[PromptRow], num_generations: int) -> PromptBatch:
        """This process's share of `rows`, `num_generations` times each."""
        return share_of_process(
            rows,
            self.chat,
            num_generations=num_generations,
            process_index=self.accelerator.process_index,
            num_processes=self.accelerator.num_processes,
            device=self.device,
        )

    def roll_out(self, policy: Any, batch: PromptBatch, iteration: int) -> Rollouts:
        """A sampled response to every row, with the log-probs it was sampled with."""
        return roll_out(
            policy, batch, self.config, self.chat, seed=self.run.seed, iteration=iteration
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
        return make_experience(evaluated, self.config, kl_coef=self.progress.kl_coef)

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
                lambda folder: self._write_checkpoint(folder, states),
                save_total_limit=self.config.save_total_limit,
            )
        self.accelerator.wait_for_everyone()

    def _write_checkpoint(self, folder: Path, random_states: list[dict[str, Any]]) -> None:
        save_policy(folder, self.models.policy, self.chat)
        self.write_manifest(folder)
        write_state(
            folder,
            self.progress,
            self.models,
            self.updater,
            fixed=self.fixed,
            random_states=random_states,
        )


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
