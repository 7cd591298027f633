"""Proximal policy optimization of a language model against a reward, top to bottom.

Schulman et al. 2017 (PPO), Ziegler et al. 2019, Stiennon et al. 2020, Ouyang et al. 2022, Huang
et al. 2024 (implementation details). One iteration:

    prompts -> rollout -> score -> [rows of all ranks] -> rewards -> advantages -> update
            -> log -> checkpoint

Everything random is a function of (seed, iteration, row), so that the number of processes, the
batches and an interruption do not change what is sampled.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from accelerate import Accelerator, DistributedDataParallelKwargs

from rlhf.data.config import PromptOptions
from rlhf.data.files.memory import Data
from rlhf.errors import ConfigError
from rlhf.models.config import BackboneConfig
from rlhf.models.generation.generate import sample_responses
from rlhf.models.protocols import CausalLM
from rlhf.models.shard import sharding_asked_for
from rlhf.rewards.config import RewardConfig
from rlhf.rewards.spec import RewardLike, parse_rewards
from rlhf.runtime.distributed import on_main_process
from rlhf.runtime.signals import SigtermFlag, Stopped
from rlhf.training.common.arguments import run_config
from rlhf.training.common.checkpoint import checkpoint_of_run
from rlhf.training.common.metrics import MetricsLine, MetricsWriter, forget_after, read_metrics
from rlhf.training.common.provenance import check_same_base
from rlhf.training.ppo.arguments import check_arguments
from rlhf.training.ppo.checkpoint import CheckpointWriter
from rlhf.training.ppo.compute import resolve_compute
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
from rlhf.training.ppo.result import PPOResult, write_all_samples, write_policy
from rlhf.training.ppo.rollout import local_shard, prompts_for_step, roll_out
from rlhf.training.ppo.run_folder import open_folder
from rlhf.training.ppo.score import score_rollouts
from rlhf.training.ppo.setup import PPOSetup
from rlhf.training.ppo.state import (
    Progress,
    identity_of,
    load_state,
    next_progress,
    restore_state,
)
from rlhf.training.ppo.update import PPOUpdater
from rlhf.training.ppo.validation import check_processes
from rlhf.types import Experience, Prompt, PromptBatch, Rollouts, ScoredRollouts

HELD_OUT = -1  # the iteration that keys held-out sampling: the same noise at every evaluation
# Largest shares of responses that may have no reward, with on_reward_error=skip.
MOST_SKIPPED, MOST_SKIPPED_HELD_OUT = 0.01, 0.5
OnStep = Callable[[int, Mapping[str, float]], None]


class PPOTrainer:
    """Trains a policy with PPO, RLOO or GRPO. In a distributed run every process makes one.

    Examples:
        >>> trainer = PPOTrainer("data/pocket/model", prompts=["Name a colour."], reward=brevity,
        ...                      config=PPOConfig(max_steps=20, rollout_batch_size=64))
        >>> result = trainer.train()
        >>> trainer.save("runs/brevity")

    Args:
        model: the policy to start from and the frozen reference: a folder, a hub id, or a
            `BackboneConfig` with LoRA and precision keys.
        prompts: a file or hub id, or rows: strings, dicts with a `prompt`, a `datasets.Dataset`
            or a pandas DataFrame. Other columns go to reward functions.
        reward: one or several of: a Python function `f(prompts, completions, **columns)` that
            returns a number per completion, a `RewardModel`, its folder or hub id,
            `file.py:function`; strings may be `WEIGHT*SOURCE`.
        config: keys of PPO; `max_steps` or `total_episodes` has to be set.
        eval_prompts: held-out prompts for `eval_` metrics, of the same kinds as `prompts`.
        ptx_data: pretraining texts; needs `config.ptx_coef`.
        data_config: chat template and handling of bad rows.
        reward_config: normalisation and aggregation; its `reward` is not read.
        output_dir: the run folder, for metrics, checkpoints and samples. None: a temporary
            folder that is deleted with the trainer.
        seed: of the whole run.
        resume_from_checkpoint: a checkpoint folder, or `latest` of `output_dir`.
        overwrite: delete an earlier run in `output_dir`.

    Raises:
        ConfigError: keys that do not go together; a run in `output_dir`.
        CheckpointError: models that do not fit together.
        DataError: rows that cannot be used.
    """

    def __init__(
        self,
        model: str | Path | BackboneConfig,
        prompts: Data,
        reward: RewardLike | Sequence[RewardLike],
        *,
        config: PPOConfig,
        eval_prompts: Data | None = None,
        ptx_data: Data | None = None,
        data_config: PromptOptions | None = None,
        reward_config: RewardConfig | None = None,
        output_dir: str | Path | None = None,
        seed: int = 0,
        resume_from_checkpoint: str | Path | None = None,
        overwrite: bool = False,
    ) -> None:
        run = run_config(
            self, output_dir, seed=seed, resume=resume_from_checkpoint, overwrite=overwrite
        )
        setup = check_arguments(
            run,
            model,
            prompts,
            parse_rewards(reward),
            config=config,
            eval_prompts=eval_prompts,
            ptx_data=ptx_data,
            data_config=data_config,
            reward_config=reward_config,
        )
        self._load(setup, on_step=None)

    @classmethod
    def from_setup(cls, setup: PPOSetup, *, on_step: OnStep | None = None) -> "PPOTrainer":
        """The trainer of a checked run; `on_step` is called after each step."""
        trainer = cls.__new__(cls)
        trainer._load(setup, on_step=on_step)
        return trainer

    def _load(self, setup: PPOSetup, *, on_step: OnStep | None) -> None:
        """Load the models, from a checkpoint where the run is resumed."""
        # Buffers are the same everywhere and never change: broadcasting them at each forward
        # would hang where ranks have different numbers of microbatches. Gradients are views of
        # the buckets that are summed over ranks, not copies.
        ddp = DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)
        self.accelerator = Accelerator(mixed_precision="no", kwargs_handlers=[ddp])
        self.setup, self.config, self.on_step = setup, setup.config, on_step
        self.warned: set[str] = set()
        self.result: PPOResult | None = None
        num_processes = self.accelerator.num_processes
        sharded = sharding_asked_for() and num_processes > 1
        check_processes(setup.settings, len(setup.held_out), num_processes)
        checkpoint, self.notes = checkpoint_of_run(setup.settings.run)
        state = None
        if checkpoint is not None:
            on_main_process(lambda: check_same_base(checkpoint, setup.base))
            state = load_state(checkpoint, identity_of(setup))
        self.compute = resolve_compute(self.config, setup.settings.model, self.accelerator.device)
        self.models, self.reward, notes = load_models(
            setup, self.compute, checkpoint, sharded=sharded
        )
        self.notes += notes
        pretraining = None
        if setup.texts:
            pretraining = Pretraining(self.accelerator, self.models, setup, self.compute)
        self.updater = PPOUpdater(
            self.accelerator, self.models, self.config, self.compute, pretraining
        )
        self.checkpoints = CheckpointWriter(setup, self.accelerator, self.models)
        self.progress = Progress(kl_coef=self.config.kl_coef)
        if checkpoint is not None and state is not None:
            self.progress = restore_state(
                state,
                checkpoint,
                self.models,
                self.updater,
                process_index=self.accelerator.process_index,
                num_processes=num_processes,
            )

    def train(self) -> PPOResult:
        """Run to the end, or to the KL budget.

        Raises:
            Stopped: SIGTERM came; a checkpoint of this step was written.
            TrainingError: a reward, a log-prob or a gradient that cannot be used.
        """
        open_folder(self.setup, self.models.policy)
        with SigtermFlag() as sigterm:
            stopped_early = self._iterate(sigterm)
        before = self.score_held_out(self.models.reference)
        before, after = intersect_rows(before, self.score_held_out(self.models.whole_policy))
        self.result = PPOResult(
            progress=self.progress, before=before, after=after, stopped_early=stopped_early
        )
        return self.result

    def _iterate(self, sigterm: SigtermFlag) -> str:
        """All iterations that are left; why they stopped early, or an empty string."""
        config, folder = self.config, self.setup.folder
        forget_after(folder, self.progress.step or -1)  # a new run writes its step 0 again
        writer = MetricsWriter(folder, self.setup.settings.run.report_to)
        if self.progress.step == 0 and self.setup.evaluates:
            writer.write(0, self.evaluate_held_out(None), episode=0)
        for step in range(self.progress.step + 1, config.num_steps + 1):
            clock = Clock()
            batch = self.next_prompts(step)
            with self.models.whole_policy() as policy:
                rollouts = self.roll_out(policy, batch, step)
            clock.lap("seconds_rollout")
            scored = self.score(rollouts)
            clock.lap("seconds_score")
            check_finite(scored, step)
            metrics = rollout_metrics(scored) | {"kl_coef": self.progress.kl_coef}
            if stopped_early := over_budget(metrics["kl"], config, step):
                writer.write(step, metrics, episode=self.progress.episodes)
                return stopped_early
            experience = self.make_experience(scored)
            metrics |= experience_metrics(experience, self.setup.settings)
            metrics |= self.updater.update(
                experience, step=step, seed=self.setup.seed, kl_coef=self.progress.kl_coef
            )
            clock.lap("seconds_update")
            self.progress = next_progress(self.progress, step, metrics, config)
            self.warn(starting_warnings(step, metrics, bf16=self.compute.bf16))
            self.warn(collapse_warnings(metrics, self.progress.baseline, config))

            last = step == config.num_steps
            evaluates = self.setup.evaluates and (last or step % config.eval_steps == 0)
            if evaluates:
                metrics |= self.evaluate_held_out(metrics["score"])
            metrics |= clock.speeds(experience)
            if last or evaluates or step % config.logging_steps == 0:
                writer.write(step, metrics, episode=self.progress.episodes)
            if self.on_step is not None:
                self.on_step(step, metrics)
            stop = sigterm.on_any_process()
            if step % config.save_steps == 0 or stop:
                self.checkpoints.checkpoint(self.progress, self.updater)
            if stop:
                raise Stopped(
                    f"stopped by SIGTERM after step {step}; resume with "
                    f"--resume_from_checkpoint latest."
                )
        return ""

    def next_prompts(self, step: int) -> PromptBatch:
        """This process's prompts of iteration `step`, `num_generations` rows each."""
        setup = self.setup
        rows = prompts_for_step(
            setup.prompts, step - 1, count=self.config.num_prompts, seed=setup.seed
        )
        return local_shard(
            rows, setup.chat, self.accelerator, num_generations=self.config.num_generations
        )

    def roll_out(self, policy: CausalLM, batch: PromptBatch, iteration: int) -> Rollouts:
        """A sampled response to every row, with the log-probs it was sampled with."""
        setup = self.setup
        return roll_out(
            policy,
            batch,
            self.config,
            self.compute,
            setup.chat,
            seed=setup.seed,
            iteration=iteration,
        )

    def score(self, rollouts: Rollouts, *, most_skipped: float = MOST_SKIPPED) -> ScoredRollouts:
        """Scores, log-probs of the reference and values, of the rows of all processes.

        most_skipped: share of the responses that may have no reward, with on_reward_error=skip.
        """
        local = score_rollouts(rollouts, self.models, self.reward, self.compute)
        scored = gather_rows(local, self.accelerator.num_processes)
        if self.reward.on_error == "skip":
            scored = without_failures(scored, at_most=most_skipped)
        return scored

    def make_experience(self, scored: ScoredRollouts) -> Experience:
        """Per-token rewards, advantages (over the rows of all ranks), returns."""
        return make_experience(scored, self.config, kl_coef=self.progress.kl_coef)

    def evaluate_held_out(self, score: float | None) -> dict[str, float]:
        """Metrics of the held-out prompts. Updates `progress` and writes `best/` at a new best.

        score: on the training prompts of this step; None before the first.
        """
        metrics = held_out_metrics(self.score_held_out(self.models.whole_policy))
        now = self.progress
        score = metrics["eval_score"] if score is None else score
        self.warn(
            overfit_warnings(
                metrics, score, best_score=now.best_score, score_at_best=now.score_at_best
            )
        )
        limit = self.config.best_kl or self.config.kl_budget
        within = limit is None or metrics["eval_kl"] <= limit
        if metrics["eval_score"] > now.best_score and within:
            self.progress = replace(
                now, best_step=now.step, best_score=metrics["eval_score"], score_at_best=score
            )
            if now.step > 0:
                self.checkpoints.best({"step": now.step} | metrics)
        return metrics

    def score_held_out(
        self, model: Callable[[], AbstractContextManager[CausalLM]]
    ) -> ScoredRollouts:
        """One scored response to each held-out prompt, always with the same noise."""
        batch = local_shard(
            self.setup.held_out, self.setup.chat, self.accelerator, num_generations=1
        )
        with model() as policy:
            rollouts = self.roll_out(policy, batch, HELD_OUT)
        scored = self.score(rollouts, most_skipped=MOST_SKIPPED_HELD_OUT)
        check_finite(scored, self.progress.step)  # it decides on best/ and the final samples
        return scored

    def warn(self, warnings: Mapping[str, str]) -> None:
        """Print each kind of warning once per run."""
        for kind, sentence in warnings.items():
            if kind not in self.warned:
                self.accelerator.print(f"warning: step {self.progress.step}: {sentence}")
        self.warned |= warnings.keys()

    @property
    def metrics(self) -> list[MetricsLine]:
        """The lines of metrics.jsonl, one dict per logged step."""
        return read_metrics(self.setup.folder)

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        seed: int = 0,
    ) -> list[str]:
        """A response of the policy to each prompt, without its thought.

        Args:
            prompts: strings, or lists of messages.
            max_new_tokens: longest response; default `config.max_completion_length`.
            temperature: 0 for the likeliest tokens; default `config.temperature`.
            seed: of the sampling noise.
        """
        with self.models.whole_policy() as policy, self.compute.autocast():
            groups = sample_responses(
                policy,
                self.setup.chat,
                prompts,
                num_responses=1,
                max_new_tokens=self.config.max_completion_length
                if max_new_tokens is None
                else max_new_tokens,
                temperature=self.config.temperature if temperature is None else temperature,
                seed=seed,
                batch_size=max(1, len(prompts)),
            )
        return [responses[0].text for responses in groups]

    def save(self, folder: str | Path | None = None) -> Path:
        """Write the trained policy, with tokenizer, manifest and model card.

        It loads with plain `AutoModelForCausalLM`. Call it after `train`, on all processes.

        Args:
            folder: default is the run folder, which gets samples/ as well.
        """
        if self.result is None:
            raise ConfigError(
                "PPOTrainer.save: nothing is trained yet; call train() first.", code="not-trained"
            )
        result = self.result
        target = self.setup.folder if folder is None else Path(folder)
        weights = self.models.policy_weights()
        with self.models.whole_policy() as policy:

            def write() -> None:
                if target == self.setup.folder:
                    write_all_samples(self.setup, self.models, policy, self.compute, result)
                target.mkdir(parents=True, exist_ok=True)
                write_policy(target, self.setup, self.models.policy, weights, result)

            on_main_process(write)
        return target
