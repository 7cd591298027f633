"""Proximal policy optimization of a language model against a reward, top to bottom.

Schulman et al. 2017 (PPO), Ziegler et al. 2019, Stiennon et al. 2020, Ouyang et al. 2022, Huang
et al. 2024 (implementation details). One iteration:

    prompts -> rollout -> score -> [rows of all ranks] -> rewards -> advantages -> update
            -> log -> checkpoint

Everything random is a function of (seed, iteration, row), so that the number of processes, the
batches and an interruption do not change what is sampled.
"""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from rlhf.data.config import PromptOptions
from rlhf.data.files.memory import Data
from rlhf.models.config import BackboneConfig
from rlhf.models.generation.generate import sample_responses
from rlhf.rewards.config import RewardConfig
from rlhf.rewards.spec import RewardLike
from rlhf.runtime.distributed import on_main_process, print_once
from rlhf.runtime.signals import SigtermFlag, Stopped
from rlhf.training.common.arguments import check_not_trained, not_trained, run_config
from rlhf.training.common.metrics import MetricsLine, MetricsWriter, forget_after, read_metrics
from rlhf.training.common.save_folder import folder_to_save
from rlhf.training.ppo.arguments import check_arguments
from rlhf.training.ppo.checkpoint import CheckpointWriter
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.diagnostics import (
    Warnings,
    check_engine,
    collapse_warnings,
    over_budget,
    overfit_warnings,
    starting_warnings,
)
from rlhf.training.ppo.experience import make_experience
from rlhf.training.ppo.load import load_run
from rlhf.training.ppo.metrics import (
    Clock,
    OnStep,
    experience_metrics,
    group_metrics,
    held_out_metrics,
    print_progress,
    replaced_metrics,
    rollout_metrics,
)
from rlhf.training.ppo.result import PPOResult, summary, unfinished, write_all_samples, write_policy
from rlhf.training.ppo.reward_metrics import source_metrics
from rlhf.training.ppo.run_folder import open_folder
from rlhf.training.ppo.sampler import Sampler, after_step
from rlhf.training.ppo.score import scores_to_train_on
from rlhf.training.ppo.setup import PPOSetup
from rlhf.training.ppo.state import next_progress, with_best
from rlhf.types import Prompt


class PPOTrainer:
    """Trains a policy with PPO, GRPO or a relative of theirs. In a distributed run every process
    creates its own trainer.

    Examples:
        >>> trainer = PPOTrainer("data/pocket/model", prompts=["Name a colour."], reward=brevity,
        ...                      config=PPOConfig(max_steps=20, rollout_batch_size=64))
        >>> result = trainer.train()
        >>> trainer.save("runs/brevity")

    Args:
        model: the policy to start from and the frozen reference: a folder, a hub id, or a
            `BackboneConfig` with LoRA and precision keys.
        prompts: a file or hub id, or rows: strings, lists of messages, dicts with a `prompt`, a
            `datasets.Dataset` or a pandas DataFrame. Other columns go to reward functions.
        reward: one or several of: a Python function `f(prompts, completions, **columns)`, async or
            not, that returns a number per completion, a `RewardModel`, its folder or hub id,
            `file.py:function`, a server's address, `judge:FILE.yaml`, `verifier:NAME`; strings may
            be `WEIGHT*SOURCE`. None with an environment that alone rewards.
        config: keys of PPO. It is required, because a run has no natural length: `max_steps` or
            `total_episodes` has to be set.
        environment: a class with `reset(prompt)` and `step(messages)`, or `file.py:Class`, that
            answers the model's turns; see docs/how-to/environments.md.
        eval_prompts: held-out prompts for `eval_` metrics, of the same kinds as `prompts`.
        ptx_data: pretraining texts; needs `config.ptx_coef`.
        data_config: chat template and handling of bad rows.
        reward_config: normalisation and aggregation; its `reward` is not read.
        output_dir: the run folder, for metrics, checkpoints and samples. None: a temporary
            folder that is deleted with the trainer.
        seed: of the whole run.
        resume_from_checkpoint: a checkpoint folder; `latest` or True for the newest one in
            `output_dir`, or a new run where it has none.
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
        reward: RewardLike | Sequence[RewardLike] | None = None,
        *,
        config: PPOConfig,
        environment: str | type | None = None,
        eval_prompts: Data | None = None,
        ptx_data: Data | None = None,
        data_config: PromptOptions | None = None,
        reward_config: RewardConfig | None = None,
        output_dir: str | Path | None = None,
        seed: int = 0,
        resume_from_checkpoint: str | Path | bool | None = None,
        overwrite: bool = False,
    ) -> None:
        run = run_config(
            self, output_dir, seed=seed, resume=resume_from_checkpoint, overwrite=overwrite
        )
        setup = check_arguments(
            run,
            model,
            prompts,
            reward,
            config=config,
            environment=environment,
            eval_prompts=eval_prompts,
            ptx_data=ptx_data,
            data_config=data_config,
            reward_config=reward_config,
        )
        self._load(setup, on_step=print_progress(setup.config.num_steps))

    @classmethod
    def from_setup(cls, setup: PPOSetup, *, on_step: OnStep | None = None) -> "PPOTrainer":
        """The trainer of a checked run; `on_step` is called after each step."""
        trainer = cls.__new__(cls)
        trainer._load(setup, on_step=on_step)
        return trainer

    def _load(self, setup: PPOSetup, *, on_step: OnStep | None) -> None:
        """Load the models, from a checkpoint where the run is resumed."""
        run = load_run(setup)
        self.accelerator, self.compute = run.accelerator, run.compute
        self.models, self.reward, self.updater = run.models, run.reward, run.updater
        self.progress, self.notes = run.progress, run.notes
        self.setup, self.config, self.on_step = setup, setup.config, on_step
        self.sampler = Sampler(
            setup, self.accelerator, self.models, self.reward, self.compute, run.engine
        )
        if run.ahead is not None:
            self.sampler.ahead.put(run.ahead)
        self.checkpoints = CheckpointWriter(setup, self.accelerator, self.models)
        self.warnings = Warnings()
        self._started = False
        self.result: PPOResult | None = None

    def train(self) -> PPOResult:
        """Run to the end, or to the KL budget.

        Raises:
            Stopped: SIGTERM came; a checkpoint of this step was written.
            TrainingError: a reward, a log-prob or a gradient that cannot be used.
            ConfigError: `train` was called before.
        """
        check_not_trained(self, started=self._started)
        open_folder(self.setup, self.models.policy)
        self._started = True
        print_once(*self.setup.notes, *self.notes)
        with closing(self.sampler):
            self.sampler.try_engine(self.progress.step)
            with SigtermFlag() as sigterm:
                stopped_early = self._iterate(sigterm)
            before, after = self.sampler.score_before_and_after(self.progress.step)
        self.result = PPOResult(
            progress=self.progress,
            before=before,
            after=after,
            stopped_early=stopped_early,
            metrics=self.metrics,
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
            batch = self.sampler.next_prompts(step)
            with self.models.whole_policy() as policy:
                version = after_step(step - 1)
                rollouts = self.sampler.roll_out(policy, batch, step, version=version)
                greedy = None
                if config.advantage == "remax":
                    greedy = self.sampler.roll_out_greedily(policy, batch, step)
                if config.rollout_lag and step < config.num_steps:
                    self.sampler.start_next(policy, step + 1)
            clock.lap("seconds_rollout")
            scored = self.sampler.score(rollouts, step, greedy=greedy)
            clock.lap("seconds_score")
            metrics = rollout_metrics(scored) | {"kl_coef": self.progress.kl_coef}
            metrics |= group_metrics(scored, config)
            check_engine(metrics, step)
            if stopped_early := over_budget(metrics["kl"], config, step):
                writer.write(step, metrics, episode=self.progress.episodes)
                return stopped_early
            if config.dynamic_sampling:
                scored, drawn = self.sampler.replace_equal_groups(scored, step)
                metrics |= replaced_metrics(scored, drawn, config)
                clock.lap("seconds_replace")
            metrics |= source_metrics(scored.scores) | self.sampler.take_counts()
            trained = scores_to_train_on(scored, self.reward)
            experience = make_experience(trained, config, kl_coef=self.progress.kl_coef)
            metrics |= experience_metrics(experience, self.setup.settings)
            metrics |= self.updater.update(
                experience, step=step, seed=self.setup.seed, kl_coef=self.progress.kl_coef
            )
            clock.lap("seconds_update")
            self.progress = next_progress(self.progress, step, metrics, config)
            differences = starting_warnings(
                step, metrics, bf16=self.compute.bf16, recomputed=config.recomputes_logprobs
            )
            self.warnings.show(step, differences)
            self.warnings.show(step, collapse_warnings(metrics, self.progress.baseline, config))
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
                self.checkpoints.checkpoint(self.progress, self.updater, self.sampler.ahead.state())
            if stop:
                raise Stopped(
                    f"stopped by {sigterm.reason()} after step {step}; resume with "
                    f"--resume_from_checkpoint latest."
                )
        return ""

    def evaluate_held_out(self, score: float | None) -> dict[str, float]:
        """Metrics of the held-out prompts. Updates `progress` and writes `best/` at a new best.

        score: on the training prompts of this step; None before the first.
        """
        now = self.progress
        metrics = held_out_metrics(self.sampler.score_held_out(now.step))
        score = metrics["eval_score"] if score is None else score
        self.warnings.show(
            now.step,
            overfit_warnings(
                metrics, score, best_score=now.best_score, score_at_best=now.score_at_best
            ),
        )
        self.progress = with_best(now, metrics, score, self.config)
        if self.progress is not now and now.step > 0:
            self.checkpoints.best({"step": now.step} | metrics)
        return metrics

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
        config = self.config
        with self.models.whole_policy() as policy, self.compute.autocast():
            groups = sample_responses(
                policy,
                self.setup.chat,
                prompts,
                num_responses=1,
                max_new_tokens=config.max_completion_length if max_new_tokens is None
                else max_new_tokens,
                temperature=config.temperature if temperature is None else temperature,
                seed=seed,
                batch_size=None,
            )  # fmt: skip
        return [responses[0].text for responses in groups]

    def save(self, folder: str | Path | None = None) -> Path:
        """Write the trained policy, with tokenizer, manifest and model card; return the folder.

        It loads with plain `AutoModelForCausalLM`. Call it after `train`, on all processes. After
        an interrupted `train` it writes the policy of the last optimizer step, without samples/.

        Args:
            folder: default is the run folder, which gets samples/ as well.

        Raises:
            ConfigError: nothing is trained yet, or the folder holds another model.
        """
        if self.result is None and (not self._started or self.progress.step == 0):
            raise not_trained(self, "save")
        setup, result = self.setup, self.result
        target = folder_to_save(folder, setup.folder, inputs=setup.built_on, stage="ppo")
        weights = self.models.policy_weights()
        lines = unfinished(self.progress) if result is None else summary(result)
        with self.models.whole_policy() as policy:

            def write() -> None:
                if target == setup.folder and result is not None:
                    write_all_samples(setup, self.models, policy, self.compute, result)
                write_policy(target, setup, self.models.policy, weights, lines)

            on_main_process(write)
        return target
