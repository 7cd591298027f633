"""`RewardTrainer`: a reward model from pairs and rankings of responses."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch

from rlhf.data.config import DataOptions
from rlhf.data.files.memory import Data, source_name
from rlhf.data.tokenization.chat import judged_ids
from rlhf.models.config import ModelConfig
from rlhf.models.reward_init import load_model, merged
from rlhf.models.scorer import Scorer, score_ids
from rlhf.rewards.pairs import check_pairs, check_templates
from rlhf.runtime.distributed import on_main_process
from rlhf.training.common.arguments import (
    check_not_trained,
    check_type,
    in_memory,
    model_config,
    not_trained,
    run_config,
)
from rlhf.training.common.arguments import data_config as data_config_of
from rlhf.training.common.metrics import MetricsLine, read_metrics
from rlhf.training.common.resume import resume_point
from rlhf.training.common.save_folder import folder_to_save
from rlhf.training.reward.config import RewardModelConfig
from rlhf.training.reward.cross_fit import weigh_annotators
from rlhf.training.reward.data import TokenRanking, tokenize, with_mean_weight
from rlhf.training.reward.loop import train_reward_model
from rlhf.training.reward.metrics import summary
from rlhf.training.reward.result import (
    RewardResult,
    TrainedReward,
    measure_and_merge,
    write_reward_model,
)
from rlhf.training.reward.scores import Scores
from rlhf.training.reward.setup import RewardSetup, check_run
from rlhf.training.reward.text_scores import TextScores
from rlhf.types import Prompt


class RewardTrainer:
    """Trains a reward model on pairs or rankings of responses to a prompt.

    Rows are checked when the trainer is made; the model is loaded by `train`. In a distributed run
    every process creates its own trainer.

    Examples:
        >>> rows = [{"prompt": "Hi", "chosen": "Hello.", "rejected": "No."}]
        >>> trainer = RewardTrainer("data/pocket/model", rows)
        >>> trainer.train(); trainer.save("runs/rm")

    Args:
        model: the policy or reward model to start from: a folder, a hub id, or a `ModelConfig`
            with the keys of LoRA, precision and memory.
        train_data: {"prompt", "responses", "ranks"} or {"prompt", "chosen", "rejected"} rows: a
            file or hub id, a list of dicts, a `datasets.Dataset` or a pandas DataFrame. None takes
            the sources of a `DataConfig`.
        eval_data: held-out rankings, of the same kinds. None holds out a share of `train_data`.
        config: keys of the training.
        normalization_data: demonstrations on which the reward's mean becomes 0 and its standard
            deviation 1. None takes `config.normalization_data`.
        data_config: chat template, longest row, share to hold out, handling of bad rows.
        output_dir: the run folder, for metrics and checkpoints. None takes a temporary folder that
            is deleted with the trainer.
        seed: seed of everything random in the run.
        resume_from_checkpoint: a checkpoint folder; `latest` or True for the newest one in
            `output_dir`, or a new run where it has none.
        overwrite: delete an earlier run in `output_dir`.

    Raises:
        ConfigError: keys that do not go together or have no effect on these rows; a run in
            `output_dir`.
        CheckpointError: a model that cannot be built on.
        DataError: rows that cannot be used.
    """

    def __init__(
        self,
        model: str | Path | ModelConfig,
        train_data: Data | None = None,
        eval_data: Data | None = None,
        *,
        config: RewardModelConfig | None = None,
        normalization_data: Data | None = None,
        data_config: DataOptions | None = None,
        output_dir: str | Path | None = None,
        seed: int = 0,
        resume_from_checkpoint: str | Path | bool | None = None,
        overwrite: bool = False,
    ) -> None:
        config = config if config is not None else RewardModelConfig()
        check_type("config", config, RewardModelConfig)
        if normalization_data is not None:
            config = replace(config, normalization_data=source_name(normalization_data))
        run = run_config(
            self,
            output_dir,
            seed=seed,
            resume=resume_from_checkpoint,
            overwrite=overwrite,
        )
        setup = check_run(
            run,
            model_config(model, ModelConfig),
            data_config_of(data_config, train_data, eval_data),
            config,
            train=in_memory(train_data),
            held_out=in_memory(eval_data),
            normalization=in_memory(normalization_data),
        )
        self._start(setup)

    @classmethod
    def from_setup(cls, setup: RewardSetup) -> "RewardTrainer":
        """The trainer of a run that `check_run` checked."""
        trainer = cls.__new__(cls)
        trainer._start(setup)
        return trainer

    def _start(self, setup: RewardSetup) -> None:
        self.setup = setup
        self.result: RewardResult | None = None
        self._trained: TrainedReward | None = None
        self._scores: Scores | None = None  # of the model that is trained
        self._started = False
        self._steps = 0

    def train(self) -> RewardResult:
        """Train, measure on held-out rankings, normalise on demonstrations.

        Raises:
            Stopped: SIGTERM came; a checkpoint of this step was written.
            TrainingError: a loss or gradient that is not finite; weights that do not move.
            CheckpointError: the checkpoint to resume from belongs to another run.
            ConfigError: `train` was called before.
        """
        check_not_trained(self, started=self._started)
        setup = self.setup
        setup.open_folder()
        self._started = True
        resume = resume_point(setup.run)
        rankings = with_mean_weight(tokenize(setup.chat, setup.rows.train))
        rankings = weigh_annotators(rankings, setup, resuming=resume is not None)
        model = load_model(
            setup.model, setup.run.seed, setup.config.num_heads, dtype=setup.weights_dtype
        )
        setup.check_can_save(model)
        setup.name_base(model, setup.folder)
        self._scores = scores = Scores(Scorer(model, bf16=setup.bf16), setup.chat.pad_token_id)
        self._steps, stopped_early = train_reward_model(
            scores, rankings, self._held_out, setup, resume=resume, on_step=self._count
        )
        trained = self._measured(scores)
        self.result = RewardResult(
            steps=self._steps,
            stopped_early=stopped_early,
            health=trained.health,
            normalization=trained.normalization,
            metrics=self.metrics,
        )
        return self.result

    @property
    def metrics(self) -> list[MetricsLine]:
        """The lines of metrics.jsonl, one dict per logged step."""
        return read_metrics(self.setup.folder)

    def score(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> list[float]:
        """The raw reward of each response: the same logit as `RewardModel(folder).score` returns.

        (logit - mean) / std of `result.normalization` is 0 on average over the demonstrations.

        Raises:
            ConfigError: nothing is trained yet.
            DataError: prompts or responses of another type or number, or a conversation for a
                model without a chat template.
        """
        chat, trained = self.setup.chat, self._checked("score")
        check_pairs(prompts, responses)
        check_templates(self.setup.model.model_name_or_path, chat, prompts)
        ids = [
            judged_ids(chat, prompt, response)
            for prompt, response in zip(prompts, responses, strict=True)
        ]
        scores: list[float] = score_ids(trained.scorer, ids, chat.pad_token_id).tolist()
        return scores

    def text_scores(self) -> TextScores:
        """The trained model for a health report: texts that were scored are not read again.

        Raises:
            ConfigError: nothing is trained yet.
        """
        trained = self._checked("text_scores")
        return TextScores(trained.scores, self.setup.chat, trained.normalization)

    def save(self, folder: str | Path | None = None) -> Path:
        """Write the model with tokenizer, manifest.json and README.md; return the folder.

        It loads with plain `AutoModelForSequenceClassification`; LoRA is merged, its adapter is in
        adapter/. Call it after `train`, on all processes. After an interrupted `train` it measures
        and writes the weights of the last optimizer step.

        Args:
            folder: default is the run folder, which gets samples/ as well.

        Raises:
            ConfigError: nothing is trained yet, or the folder holds another model.
        """
        setup = self.setup
        target = folder_to_save(
            folder, setup.folder, inputs=[setup.model.model_name_or_path], stage="reward_model"
        )
        trained = self._checked("save")
        stopped_early = f"interrupted after step {self._steps}"
        if self.result is not None:
            stopped_early = self.result.stopped_early
        lines = summary(self._steps, trained.health, trained.normalization, stopped_early)
        on_main_process(lambda: write_reward_model(target, setup, trained, lines))
        return target

    def _count(self, step: int) -> None:
        self._steps = step

    @cached_property
    def _held_out(self) -> list[TokenRanking]:
        """The held-out rankings as token ids."""
        return tokenize(self.setup.chat, self.setup.rows.held_out)

    def _measured(self, scores: Scores) -> TrainedReward:
        """The trained model, with LoRA and heads merged, and its measurements."""
        setup, model = self.setup, scores.scorer.model
        whole = merged(model, setup.folder)
        if whole is not model:
            scores.scorer = Scorer(whole, bf16=setup.bf16)
            if setup.weights_dtype != torch.float32:
                scores.forget()  # they were computed with the adapter on a base in bf16
        self._trained = measure_and_merge(whole, scores, setup, self._held_out)
        return self._trained

    def _checked(self, method: str) -> TrainedReward:
        if self._trained is None and self._scores is not None and self._steps > 0:
            return self._measured(self._scores)
        if self._trained is None:
            raise not_trained(self, method)
        return self._trained
