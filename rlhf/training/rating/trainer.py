"""`RatingTrainer`: a reward model from verdicts, or from ratings by axis."""

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
from rlhf.training.common.loop import TrainingLoop, run_loop
from rlhf.training.common.metrics import MetricsLine, read_metrics
from rlhf.training.common.resume import resume_point
from rlhf.training.common.save_folder import folder_to_save
from rlhf.training.rating.data import TokenRating, tokenize
from rlhf.training.rating.objective import RatingObjective
from rlhf.training.rating.result import (
    RatingResult,
    TrainedRating,
    measure_and_merge,
    summary,
    write_rating_model,
)
from rlhf.training.rating.setup import RatingSetup, check_run
from rlhf.training.rating.text_scores import RatingTextScores
from rlhf.training.reward.config import RewardModelConfig
from rlhf.training.reward.scores import Scores
from rlhf.types import Prompt


class RatingTrainer:
    """Trains a reward model on labels of single responses: verdicts, or ratings by axis.

    With `objective="outcome"` σ(reward) is the probability that a response is correct. With
    `objective="axes"` the reward is the weighted sum of a head for each axis. Rows are checked when
    the trainer is made; the model is loaded by `train`. In a distributed run every process creates
    its own trainer.

    Examples:
        >>> rows = [{"prompt": "2 plus 2?", "response": r, "correct": r == "4"} for r in "345"]
        >>> config = rlhf.RewardModelConfig(objective="outcome")
        >>> trainer = rlhf.RatingTrainer("data/pocket/model", rows, config=config)
        >>> trainer.train(); trainer.save("runs/verifier")

    Args:
        model: the policy or reward model to start from: a folder, a hub id, or a `ModelConfig`
            with the keys of LoRA, precision and memory.
        train_data: {"prompt", "response", "correct"} or {"prompt", "response", "ratings"} rows: a
            file or hub id, a list of dicts, a `datasets.Dataset` or a pandas DataFrame. None takes
            the sources of a `DataConfig`.
        eval_data: held-out responses, of the same kinds. None holds out a share of `train_data`.
        config: keys of the training, with `objective="outcome"` or `"axes"`.
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
        ConfigError: keys that do not go together; a run in `output_dir`.
        CheckpointError: a model that cannot be built on.
        DataError: rows that cannot be used, or labels that do not differ.
    """

    def __init__(
        self,
        model: str | Path | ModelConfig,
        train_data: Data | None = None,
        eval_data: Data | None = None,
        *,
        config: RewardModelConfig,
        normalization_data: Data | None = None,
        data_config: DataOptions | None = None,
        output_dir: str | Path | None = None,
        seed: int = 0,
        resume_from_checkpoint: str | Path | bool | None = None,
        overwrite: bool = False,
    ) -> None:
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
    def from_setup(cls, setup: RatingSetup) -> "RatingTrainer":
        """The trainer of a run that `check_run` checked."""
        trainer = cls.__new__(cls)
        trainer._start(setup)
        return trainer

    def _start(self, setup: RatingSetup) -> None:
        self.setup = setup
        self.result: RatingResult | None = None
        self._trained: TrainedRating | None = None
        self._scores: Scores | None = None  # of the model that is trained
        self._started = False
        self._steps = 0

    def train(self) -> RatingResult:
        """Train, measure on held-out responses, normalise on demonstrations.

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
        model = load_model(setup.model, setup.run.seed, len(setup.axes), dtype=setup.weights_dtype)
        setup.check_can_save(model)
        setup.name_base(model, setup.folder)
        self._scores = scores = Scores(Scorer(model, bf16=setup.bf16), setup.chat.pad_token_id)
        train = tokenize(setup.chat, setup.rows.train, setup.axes)
        objective = RatingObjective(scores, train, self._held_out, setup)
        loop = TrainingLoop(objective, setup.run, setup.model, setup.config)
        self._steps, stopped_early = run_loop(loop, resume=resume, on_step=self._count)
        trained = self._measured(scores)
        self.result = RatingResult(
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

    def text_scores(self) -> RatingTextScores:
        """The trained model for a health report: texts that were scored are not read again.

        Raises:
            ConfigError: nothing is trained yet.
        """
        trained, setup = self._checked("text_scores"), self.setup
        return RatingTextScores(trained.scores, setup.chat, trained.normalization, setup.axes)

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
        on_main_process(lambda: write_rating_model(target, setup, trained, self._held_out, lines))
        return target

    def _count(self, step: int) -> None:
        self._steps = step

    @cached_property
    def _held_out(self) -> list[TokenRating]:
        """The held-out responses as token ids."""
        return tokenize(self.setup.chat, self.setup.rows.held_out, self.setup.axes)

    def _measured(self, scores: Scores) -> TrainedRating:
        """The trained model, with LoRA and heads merged, and its measurements."""
        setup, model = self.setup, scores.scorer.model
        whole = merged(model, setup.folder)
        if whole is not model:
            scores.scorer = Scorer(whole, bf16=setup.bf16)
            if setup.weights_dtype != torch.float32:
                scores.forget()  # they were computed with the adapter on a base in bf16
        self._trained = measure_and_merge(whole, scores, setup, self._held_out)
        return self._trained

    def _checked(self, method: str) -> TrainedRating:
        if self._trained is None and self._scores is not None and self._steps > 0:
            return self._measured(self._scores)
        if self._trained is None:
            raise not_trained(self, method)
        return self._trained
