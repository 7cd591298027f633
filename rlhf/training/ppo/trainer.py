"""Proximal policy optimization of a language model against a reward, top to bottom.

Schulman et al. 2017 (PPO), Ziegler et al. 2019, Stiennon et al. 2020, Ouyang et al. 2022, Huang
et al. 2024 (implementation details). One iteration:

    prompts -> rollout -> score -> evaluate -> [rows of all ranks] -> shape -> advantage
            -> update -> log -> checkpoint

Everything random is a function of (seed, iteration, row), so that the number of processes, the
batches and an interruption change nothing of what is sampled.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator, DistributedDataParallelKwargs

from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.models.shard import sharding_asked_for
from rlhf.runtime.run_folder import RunConfig
from rlhf.runtime.signals import SigtermFlag, Stopped
from rlhf.training.common.metrics import MetricsWriter, forget_after
from rlhf.training.ppo.checkpoint import CheckpointWriter
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.diagnostics import (
    check_finite,
    collapse_warnings,
    over_budget,
    overfit_warnings,
    starting_warnings,
)
from rlhf.training.ppo.experience import make_experience
from rlhf.training.ppo.gather import gather_rows, intersect_rows, without_failures
from rlhf.training.ppo.metrics import (
    Clock,
    experience_metrics,
    held_out_metrics,
    rollout_metrics,
)
from rlhf.training.ppo.models import load_models
from rlhf.training.ppo.ptx import Pretraining
from rlhf.training.ppo.rollout import local_shard, prompts_for_step, roll_out
from rlhf.training.ppo.score import score_rollouts
from rlhf.training.ppo.state import Progress, identity_of, load_state, next_progress, restore_state
from rlhf.training.ppo.update import PPOUpdater
from rlhf.training.ppo.validation import check_processes
from rlhf.types import Experience, PromptBatch, PromptRow, Rollouts, ScoredRollouts

HELD_OUT = -1  # the iteration that keys held-out sampling: the same noise at every evaluation
LEFT_OUT, LEFT_OUT_HELD_OUT = 0.01, 0.5  # largest shares of answers that may have no reward


@dataclass(frozen=True, kw_only=True)
class PPOResult:
    """What a finished run has to tell. `before` and `after` answer the same held-out prompts."""

    progress: Progress
    before: ScoredRollouts
    after: ScoredRollouts
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
        texts: Sequence[str] = (),
    ) -> None:
        # Buffers are the same everywhere and never change: broadcasting them at each forward
        # would hang where ranks have different numbers of microbatches. Gradients lie in the
        # buffers that are summed over ranks, not beside them.
        ddp = DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)
        self.accelerator = Accelerator(mixed_precision="no", kwargs_handlers=[ddp])
        self.device = self.accelerator.device
        self.run, self.config, self.chat = run, config, chat
        self.prompts, self.held_out = prompts, held_out
        self.report = report
        self.warned: set[str] = set()
        sharded = sharding_asked_for() and self.accelerator.num_processes > 1
        check_processes(config, len(held_out), self.accelerator.num_processes)
        self.identity = identity_of(run, config, prompts, texts)
        state = None if checkpoint is None else load_state(checkpoint, self.identity)
        self.models, self.reward, self.notes = load_models(
            config, chat, checkpoint, seed=run.seed, device=self.device, sharded=sharded
        )
        pretraining = None
        if texts:
            pretraining = Pretraining(
                self.accelerator, self.models, texts, chat, config, seed=run.seed
            )
        self.updater = PPOUpdater(self.accelerator, self.models, config, pretraining)
        self.keeper = CheckpointWriter(
            Path(run.output_dir), self.accelerator, self.models, chat, write_manifest=write_manifest
        )
        self.progress = Progress(kl_coef=config.kl_coef)
        if checkpoint is not None and state is not None:
            self.progress = restore_state(
                state,
                checkpoint,
                self.models,
                self.updater,
                process_index=self.accelerator.process_index,
                num_processes=self.accelerator.num_processes,
            )

    def train(self) -> PPOResult:
        """Run to the end, or to the KL budget; the trained policy is `self.models.policy`.

        Raises:
            Stopped: SIGTERM came; a checkpoint of this step was written.
            TrainingError: a reward, a log-prob or a gradient that cannot be used.
        """
        config, sigterm, stopped_early = self.config, SigtermFlag(), ""
        folder = Path(self.run.output_dir)
        forget_after(folder, self.progress.step or -1)  # a run that begins writes its step 0 anew
        metrics = MetricsWriter(folder, self.run.report_to)
        if self.progress.step == 0 and config.eval_data is not None:
            metrics.write(0, self.evaluate_held_out(None), episode=0)
        for step in range(self.progress.step + 1, config.num_steps + 1):
            clock = Clock()
            batch = self.next_prompts(step)
            with self.models.whole_policy() as policy:
                rollouts = self.roll_out(policy, batch, step)
            clock.lap("seconds_rollout")
            evaluated = self.evaluate(rollouts)
            clock.lap("seconds_score")
            check_finite(evaluated, step)
            figures = rollout_metrics(evaluated) | {"kl_coef": self.progress.kl_coef}
            if stopped_early := over_budget(figures["kl"], config, step):
                metrics.write(step, figures, episode=self.progress.episodes)
                break
            experience = self.experience(evaluated)
            figures |= experience_metrics(experience, config)
            figures |= self.updater.update(experience, step=step, seed=self.run.seed)
            clock.lap("seconds_update")
            self.progress = next_progress(self.progress, step, figures, config)
            self.warn(starting_warnings(step, figures, config))
            self.warn(collapse_warnings(figures, self.progress.baseline, config))

            last = step == config.num_steps
            looks = config.eval_data is not None and (last or step % config.eval_steps == 0)
            if looks:
                figures |= self.evaluate_held_out(figures["score"])
            figures |= clock.speeds(experience)
            if last or looks or step % config.logging_steps == 0:
                metrics.write(step, figures, episode=self.progress.episodes)
            self.report(step, figures)
            stop = sigterm.on_any_process()
            if step % config.save_steps == 0 or stop:
                self.save()
            if stop:
                raise Stopped(
                    f"stopped by SIGTERM after step {step}; go on with "
                    f"--resume_from_checkpoint latest."
                )
        before = self.score_held_out(self.models.reference)
        before, after = intersect_rows(before, self.score_held_out(self.models.whole_policy))
        return PPOResult(
            progress=self.progress, before=before, after=after, stopped_early=stopped_early
        )

    def next_prompts(self, step: int) -> PromptBatch:
        """This process's prompts of iteration `step`, `num_generations` rows each."""
        rows = prompts_for_step(
            self.prompts, step - 1, count=self.config.num_prompts, seed=self.run.seed
        )
        return local_shard(
            rows, self.chat, self.accelerator, num_generations=self.config.num_generations
        )

    def roll_out(self, policy: Any, batch: PromptBatch, iteration: int) -> Rollouts:
        """A sampled response to every row, with the log-probs it was sampled with."""
        return roll_out(
            policy, batch, self.config, self.chat, seed=self.run.seed, iteration=iteration
        )

    def evaluate(self, rollouts: Rollouts, *, left_out: float = LEFT_OUT) -> ScoredRollouts:
        """Scores, log-probs of the reference, values; of the rows of all processes.

        left_out: share of the answers that may be left out for want of a reward, where
        `on_reward_error` is skip.
        """
        local = score_rollouts(rollouts, self.models, self.reward, self.config)
        evaluated = gather_rows(local, self.accelerator.num_processes)
        if self.config.on_reward_error == "skip":
            evaluated = without_failures(evaluated, at_most=left_out)
        return evaluated

    def experience(self, evaluated: ScoredRollouts) -> Experience:
        """Per-token rewards, advantages (over the rows of all ranks), returns."""
        return make_experience(evaluated, self.config, kl_coef=self.progress.kl_coef)

    def evaluate_held_out(self, score: float | None) -> dict[str, float]:
        """Figures of the held-out prompts; `best/` where they are the best so far.

        score: on the training prompts of this step; None before the first.
        """
        figures = held_out_metrics(self.score_held_out(self.models.whole_policy))
        now = self.progress
        score = figures["eval_score"] if score is None else score
        self.warn(
            overfit_warnings(
                figures, score, best_score=now.best_score, score_at_best=now.score_at_best
            )
        )
        limit = self.config.best_kl or self.config.kl_budget
        within = limit is None or figures["eval_kl"] <= limit
        if figures["eval_score"] > now.best_score and within:
            self.progress = replace(
                now, best_step=now.step, best_score=figures["eval_score"], score_at_best=score
            )
            if now.step > 0:
                self.keeper.best({"step": now.step} | figures)
        return figures

    def score_held_out(self, model: Callable[[], AbstractContextManager[Any]]) -> ScoredRollouts:
        """One answer to each held-out prompt, always with the same noise."""
        batch = local_shard(self.held_out, self.chat, self.accelerator, num_generations=1)
        with model() as policy:
            rollouts = self.roll_out(policy, batch, HELD_OUT)
        evaluated = self.evaluate(rollouts, left_out=LEFT_OUT_HELD_OUT)
        check_finite(evaluated, self.progress.step)  # best/ and the final model are judged by it
        return evaluated

    def warn(self, warnings: Mapping[str, str]) -> None:
        """Say each kind of warning once a run."""
        for kind, sentence in warnings.items():
            if kind not in self.warned:
                self.accelerator.print(f"warning: step {self.progress.step}: {sentence}")
        self.warned |= warnings.keys()

    def save(self) -> None:
        """Write checkpoint-N."""
        self.keeper.checkpoint(
            self.progress,
            self.updater,
            identity=self.identity,
            save_total_limit=self.config.save_total_limit,
        )
