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
from accelerate.utils import gather_object
from torch import Tensor

from rlhf.data.tokenizer import ChatTokenizer
from rlhf.launch import SigtermFlag, Stopped
from rlhf.manifest import hash_text
from rlhf.models.save import save_policy
from rlhf.models.shard import sharding_asked_for
from rlhf.run_folder import RunConfig
from rlhf.training.checkpoint import random_state, replace_folder, save_checkpoint
from rlhf.training.metrics import MetricsWriter, forget_after
from rlhf.training.ppo_checks import check_processes
from rlhf.training.ppo_config import PPOConfig
from rlhf.training.ppo_evaluate import evaluate_rollouts
from rlhf.training.ppo_experience import make_experience
from rlhf.training.ppo_figures import (
    Clock,
    experience_figures,
    held_out_figures,
    rollout_figures,
)
from rlhf.training.ppo_gather import common_rows, gather_rows, without_failures
from rlhf.training.ppo_health import (
    check_finite,
    collapse_warnings,
    over_budget,
    overfit_warnings,
    starting_warnings,
)
from rlhf.training.ppo_models import load_models
from rlhf.training.ppo_ptx import Pretraining
from rlhf.training.ppo_rollout import roll_out, share_of_process, walk_through
from rlhf.training.ppo_state import Progress, advanced, read_state, state_of
from rlhf.training.ppo_update import Updater
from rlhf.types import Evaluated, Experience, PromptBatch, PromptRow, Rollouts

HELD_OUT = -1  # the iteration that keys held-out sampling: the same noise at every evaluation
LEFT_OUT, LEFT_OUT_HELD_OUT = 0.01, 0.5  # largest shares of answers that may have no reward
BEST = "best"


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
        self.write_manifest, self.report = write_manifest, report
        self.warned: set[str] = set()
        sharded = sharding_asked_for() and self.accelerator.num_processes > 1
        check_processes(config, len(held_out), self.accelerator.num_processes)
        self.models, self.reward, self.notes = load_models(
            config, chat, checkpoint, seed=run.seed, device=self.device, sharded=sharded
        )
        pretraining = None
        if texts:
            pretraining = Pretraining(
                self.accelerator, self.models, texts, chat, config, seed=run.seed
            )
        self.updater = Updater(self.accelerator, self.models, config, pretraining)
        self.fixed = {  # what another value of would make another run
            "seed": run.seed,
            "mode": config.mode,
            "advantage": config.advantage,
            "rollout_batch_size": config.rollout_batch_size,
            "num_generations": config.num_generations,
            "kl_coef": config.kl_coef,
            "train_data of sha256": hash_text(repr([*prompts, *texts])),
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
            TrainingError: a reward, a log-prob or a gradient that cannot be used.
        """
        config, sigterm, stopped_early = self.config, SigtermFlag(), ""
        if self.progress.step == 0 and config.eval_data is not None:
            self.metrics.write(0, self.look_at_held_out(None), episode=0)
        for step in range(self.progress.step + 1, config.num_steps + 1):
            clock = Clock()
            batch = self.next_prompts(step)
            with self.models.whole_policy() as policy:
                rollouts = self.roll_out(policy, batch, step)
            clock.lap("seconds_rollout")
            evaluated = self.evaluate(rollouts)
            clock.lap("seconds_score")
            check_finite(evaluated, step)
            figures = rollout_figures(evaluated) | {"kl_coef": self.progress.kl_coef}
            if stopped_early := over_budget(figures["kl"], config, step):
                break
            experience = self.experience(evaluated)
            figures |= experience_figures(experience, config)
            figures |= self.updater.update(experience, step=step, seed=self.run.seed)
            clock.lap("seconds_update")
            self.progress = advanced(self.progress, step, figures, config)
            self.warn(starting_warnings(step, figures, config))
            self.warn(collapse_warnings(figures, self.progress.baseline, config))

            if step % config.eval_steps == 0 and config.eval_data is not None:
                figures |= self.look_at_held_out(figures["score"])
            figures |= clock.speeds(experience)
            if step % config.logging_steps == 0 or step == config.num_steps:
                self.metrics.write(step, figures, episode=self.progress.episodes)
            self.report(step, figures)
            stop = sigterm.on_any_process()
            if step % config.save_steps == 0 or stop:
                self.save()
            if stop:
                raise Stopped(
                    f"stopped by SIGTERM after step {step}; go on with "
                    f"--resume_from_checkpoint latest."
                )
        before = self.answer_held_out(self.models.reference)
        before, after = common_rows(before, self.answer_held_out(self.models.whole_policy))
        return PPOResult(
            progress=self.progress, before=before, after=after, stopped_early=stopped_early
        )

    def next_prompts(self, step: int) -> PromptBatch:
        """This process's prompts of iteration `step`, `num_generations` rows each."""
        rows = walk_through(
            self.prompts, step - 1, count=self.config.num_prompts, seed=self.run.seed
        )
        return share_of_process(
            rows, self.chat, self.accelerator, num_generations=self.config.num_generations
        )

    def roll_out(self, policy: Any, batch: PromptBatch, iteration: int) -> Rollouts:
        """A sampled response to every row, with the log-probs it was sampled with."""
        return roll_out(
            policy, batch, self.config, self.chat, seed=self.run.seed, iteration=iteration
        )

    def evaluate(self, rollouts: Rollouts, *, left_out: float = LEFT_OUT) -> Evaluated:
        """Scores, log-probs of the reference, values; of the rows of all processes.

        left_out: share of the answers that may be left out for want of a reward, where
        `on_reward_error` is skip.
        """
        local = evaluate_rollouts(rollouts, self.models, self.reward, self.config)
        evaluated = gather_rows(local, self.accelerator.num_processes)
        if self.config.on_reward_error == "skip":
            evaluated = without_failures(evaluated, at_most=left_out)
        return evaluated

    def experience(self, evaluated: Evaluated) -> Experience:
        """Per-token rewards, advantages (over the rows of all ranks), returns."""
        return make_experience(evaluated, self.config, kl_coef=self.progress.kl_coef)

    def look_at_held_out(self, score: float | None) -> dict[str, float]:
        """Figures of the held-out prompts; `best/` where they are the best so far.

        score: on the training prompts of this step; None before the first.
        """
        figures = held_out_figures(self.answer_held_out(self.models.whole_policy))
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
                self._keep_as_best()
        return figures

    def answer_held_out(self, model: Callable[[], AbstractContextManager[Any]]) -> Evaluated:
        """One answer to each held-out prompt, always with the same noise."""
        batch = share_of_process(self.held_out, self.chat, self.accelerator, num_generations=1)
        with model() as policy:
            rollouts = self.roll_out(policy, batch, HELD_OUT)
        return self.evaluate(rollouts, left_out=LEFT_OUT_HELD_OUT)

    def warn(self, warnings: Mapping[str, str]) -> None:
        """Say each kind of warning once a run."""
        for kind, sentence in warnings.items():
            if kind not in self.warned:
                self.accelerator.print(f"warning: step {self.progress.step}: {sentence}")
        self.warned |= warnings.keys()

    def save(self) -> None:
        """Write checkpoint-N: a policy that loads as it is, and all the rest of the state."""
        state = state_of(
            self.progress,
            self.models,
            self.updater,
            fixed=self.fixed,
            random_states=gather_object([random_state()]),
        )
        weights = self.models.policy_weights()

        def write(folder: Path) -> None:
            state.write(folder)  # first: the manifest has the hash of all weights in the folder
            self._write_policy(folder, weights)

        if self.accelerator.is_main_process:
            limit = self.config.save_total_limit
            save_checkpoint(
                Path(self.run.output_dir), self.progress.step, write, save_total_limit=limit
            )
        self.accelerator.wait_for_everyone()

    def _keep_as_best(self) -> None:
        weights = self.models.policy_weights()
        if self.accelerator.is_main_process:
            replace_folder(
                Path(self.run.output_dir) / BEST, lambda folder: self._write_policy(folder, weights)
            )
        self.accelerator.wait_for_everyone()

    def _write_policy(self, folder: Path, weights: dict[str, Tensor] | None) -> None:
        save_policy(folder, self.models.policy, self.chat, weights)
        self.write_manifest(folder)
