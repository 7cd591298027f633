"""`KTOTrainer`: Kahneman-Tversky optimization of a policy on thumbs up and down."""

from collections.abc import Sequence
from pathlib import Path

from rlhf.data.config import DataOptions
from rlhf.data.files.memory import Data
from rlhf.models.config import ModelConfig
from rlhf.models.response_logprobs import ResponseLogprobs
from rlhf.training.common.arguments import check_type, in_memory, model_config, run_config
from rlhf.training.common.arguments import data_config as data_config_of
from rlhf.training.common.loop import TrainingLoop, run_loop
from rlhf.training.common.metrics import MetricsLine, read_metrics
from rlhf.training.common.policy import SAMPLE_TEMPERATURE
from rlhf.training.common.policy_run import PolicyRun
from rlhf.training.kto.config import KTOConfig
from rlhf.training.kto.objective import KTOObjective
from rlhf.training.kto.result import KTOResult, summary
from rlhf.training.kto.setup import KTOSetup, check_run
from rlhf.types import Prompt


class KTOTrainer:
    """Trains a policy on responses with a thumb up or down, without a reward model.

    The reference is the model as it is before training. Rows are checked when the trainer is made;
    the model is loaded by `train`. In a distributed run every process creates its own trainer.

    Examples:
        >>> rows = [{"prompt": "Hi", "completion": "Hello.", "label": True},
        ...         {"prompt": "Hi", "completion": "No.", "label": False}]
        >>> trainer = KTOTrainer("data/pocket/model", rows, rows)
        >>> trainer.train(); trainer.save("runs/kto")

    Args:
        model: the policy to start from: a folder, a hub id, or a `ModelConfig` with the keys of
            LoRA, precision and memory.
        train_data: {"prompt", "completion", "label"} rows, or rankings, whose best and worst
            responses are thumbs up and down: a file or hub id, a list of dicts, a
            `datasets.Dataset` or a pandas DataFrame. None takes the sources of a `DataConfig`.
        eval_data: held-out rows, of the same kind. None holds out a share of `train_data`.
        config: keys of the training.
        data_config: chat template, longest row, share to hold out, handling of bad rows.
        output_dir: the run folder, for metrics, checkpoints and samples. None takes a temporary
            folder that is deleted with the trainer.
        seed: seed of everything random in the run.
        resume_from_checkpoint: a checkpoint folder; `latest` or True for the newest one in
            `output_dir`, or a new run where it has none.
        overwrite: delete an earlier run in `output_dir`.

    Raises:
        ConfigError: keys that do not go together; a run in `output_dir`.
        CheckpointError: a model that cannot be built on.
        DataError: rows that cannot be used.
    """

    def __init__(
        self,
        model: str | Path | ModelConfig,
        train_data: Data | None = None,
        eval_data: Data | None = None,
        *,
        config: KTOConfig | None = None,
        data_config: DataOptions | None = None,
        output_dir: str | Path | None = None,
        seed: int = 0,
        resume_from_checkpoint: str | Path | bool | None = None,
        overwrite: bool = False,
    ) -> None:
        config = config if config is not None else KTOConfig()
        check_type("config", config, KTOConfig)
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
        )
        self._start(setup)

    @classmethod
    def from_setup(cls, setup: KTOSetup) -> "KTOTrainer":
        """The trainer of a run that `check_run` checked."""
        trainer = cls.__new__(cls)
        trainer._start(setup)
        return trainer

    def _start(self, setup: KTOSetup) -> None:
        self.setup = setup
        self.result: KTOResult | None = None
        self._run = PolicyRun(self, setup, stage="kto", title="training on thumbs")

    def train(self) -> KTOResult:
        """Sample, train, and sample again; checkpoints go to the run folder.

        Raises:
            Stopped: SIGTERM came; a checkpoint of this step was written.
            TrainingError: a loss or gradient that is not finite; weights that do not move.
            CheckpointError: the checkpoint to resume from belongs to another run.
            ConfigError: `train` was called before.
        """
        run, setup = self._run, self.setup
        resume = run.start()
        prompts = run.sample_prompts()
        samples_before = run.samples(prompts)
        objective = KTOObjective(ResponseLogprobs(run.loaded(), bf16=setup.bf16), setup)
        before = objective.health()
        loop = TrainingLoop(objective, setup.run, setup.model, setup.config)
        steps, stopped_early = run_loop(loop, resume=resume, on_step=run.count)
        run.finish(objective.model, steps)
        self.result = KTOResult(
            steps=steps,
            stopped_early=stopped_early,
            before=before,
            after=objective.health(),
            metrics=self.metrics,
            sample_prompts=prompts,
            samples={"before": samples_before, "after": run.samples(prompts)},
        )
        return self.result

    @property
    def metrics(self) -> list[MetricsLine]:
        """The lines of metrics.jsonl, one dict per logged step."""
        return read_metrics(self.setup.folder)

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_new_tokens: int | None = None,
        temperature: float = SAMPLE_TEMPERATURE,
        seed: int = 0,
    ) -> list[str]:
        """A response of the model to each prompt, without its thought.

        Args:
            prompts: strings, or lists of messages.
            max_new_tokens: longest response; default `config.sample_max_new_tokens`.
            temperature: 0 for the likeliest tokens.
            seed: seed of the sampling noise.
        """
        sampled = self._run.sampled(prompts, max_new_tokens, temperature=temperature, seed=seed)
        return [response.text for response in sampled]

    def save(self, folder: str | Path | None = None) -> Path:
        """Write the trained model with tokenizer, manifest.json and README.md; return the folder.

        It loads with plain `AutoModelForCausalLM`; with LoRA it is a PEFT adapter. Call it after
        `train`, on all processes. After an interrupted `train` it writes the weights of the last
        optimizer step, without samples/.

        Args:
            folder: default is the run folder, which gets samples/ too.

        Raises:
            ConfigError: nothing is trained yet, or the folder holds another model.
        """
        return self._run.save(folder, self.result, summary(self.result) if self.result else {})
