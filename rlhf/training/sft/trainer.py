"""`SFTTrainer`: supervised fine-tuning of a language model on demonstrations."""

from collections.abc import Sequence
from pathlib import Path

from rlhf.data.config import DataOptions
from rlhf.data.files.memory import Data
from rlhf.models.config import ModelConfig
from rlhf.models.cpu_kernels.layers import use_fast_cpu_layers
from rlhf.models.generation.generate import SampledResponse
from rlhf.models.shard import whole, whole_weights
from rlhf.runtime.distributed import is_main_process, on_main_process, print_once
from rlhf.training.common.arguments import (
    check_not_trained,
    check_type,
    in_memory,
    model_config,
    not_trained,
    run_config,
)
from rlhf.training.common.arguments import data_config as data_config_of
from rlhf.training.common.metrics import MetricsLine, MetricsWriter, read_metrics
from rlhf.training.common.policy import (
    SAMPLE_TEMPERATURE,
    Model,
    load_policy_to_train,
    sample_each,
    unfinished,
    write_policy,
)
from rlhf.training.common.resume import resume_point
from rlhf.training.common.samples import write_samples
from rlhf.training.common.save_folder import folder_to_save
from rlhf.training.common.sharding import is_sharded
from rlhf.training.sft.config import SFTConfig
from rlhf.training.sft.end_token import end_probability, end_warnings, untrained_end_warnings
from rlhf.training.sft.fine_tune import FineTuned, fine_tune
from rlhf.training.sft.result import SFTResult, summary
from rlhf.training.sft.samples import sample_prompts, sampling_chat
from rlhf.training.sft.setup import SFTSetup, check_run
from rlhf.types import Prompt


class SFTTrainer:
    """Fine-tunes a causal language model on demonstrations or texts, with TRL's trainer inside.

    The loss is the cross-entropy of the responses and their end of turn, and of every token of a
    plain text and its EOS. Rows are checked when the trainer is made; the model is loaded by
    `train`. In a distributed run every process creates its own trainer.

    Examples:
        >>> trainer = SFTTrainer("data/pocket/model", [{"prompt": "Hi", "completion": "Hello."}])
        >>> result = trainer.train()
        >>> trainer.save("runs/sft")

    Args:
        model: the model to start from: a folder, a hub id, or a `ModelConfig` with the keys of
            LoRA, precision and memory.
        train_data: {"prompt", "completion"}, {"messages"} or {"text"} rows: a file or hub id, a
            list of dicts or of texts, a `datasets.Dataset` or a pandas DataFrame. None takes the
            sources of a `DataConfig`.
        eval_data: held-out rows, of the same kinds. None holds out a share of `train_data`.
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
        config: SFTConfig | None = None,
        data_config: DataOptions | None = None,
        output_dir: str | Path | None = None,
        seed: int = 0,
        resume_from_checkpoint: str | Path | bool | None = None,
        overwrite: bool = False,
    ) -> None:
        run = run_config(
            self,
            output_dir,
            seed=seed,
            resume=resume_from_checkpoint,
            overwrite=overwrite,
        )
        config = config if config is not None else SFTConfig()
        check_type("config", config, SFTConfig)
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
    def from_setup(cls, setup: SFTSetup) -> "SFTTrainer":
        """The trainer of a run that `check_run` checked."""
        trainer = cls.__new__(cls)
        trainer._start(setup)
        return trainer

    def _start(self, setup: SFTSetup) -> None:
        self.setup = setup
        self.result: SFTResult | None = None
        self._model: Model | None = None
        self._started = False
        self._steps = 0

    def train(self) -> SFTResult:
        """Sample, fine-tune, and sample again; checkpoints go to the run folder.

        Raises:
            Stopped: SIGTERM came; a checkpoint of this step was written.
            TrainingError: a gradient that is not finite; weights that do not move.
            CheckpointError: the checkpoint to resume from belongs to another run.
            ConfigError: `train` was called before.
        """
        check_not_trained(self, started=self._started)
        setup = self.setup
        setup.open_folder()
        self._started = True
        resume = resume_point(setup.run)
        model = self._loaded()
        print_once(*untrained_end_warnings(model, setup.model, setup.chat))
        setup.check_can_save(model)
        setup.name_base(model, setup.folder)
        prompts = sample_prompts(setup)
        before = self._samples(model, prompts)
        tuned = fine_tune(model, setup, resume=resume, on_step=self._count)
        self._model = tuned.model
        with whole(tuned.model):
            after = self._samples(tuned.model, prompts)
            probability = _log_end_probability(tuned, setup)
        self.result = SFTResult(
            steps=tuned.steps,
            eval_loss_before=tuned.eval_loss_before,
            eval_loss_after=tuned.eval_loss_after,
            stopped_early=tuned.stopped_early,
            end_probability=probability,
            metrics=self.metrics,
            sample_prompts=prompts,
            samples={"before": before, "after": after},
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

        After training on plain texts alone, prompts are beginnings of texts, without a template.
        With sharded weights (FSDP), call it on all processes.

        Args:
            prompts: strings, or lists of messages.
            max_new_tokens: longest response; default `config.sample_max_new_tokens`.
            temperature: 0 for the likeliest tokens.
            seed: seed of the sampling noise.
        """
        with whole(self._loaded()):
            responses = sample_each(
                self._loaded(),
                sampling_chat(self.setup),
                prompts,
                max_new_tokens=self.setup.config.sample_max_new_tokens
                if max_new_tokens is None
                else max_new_tokens,
                temperature=temperature,
                seed=seed,
            )
        return [response.text for response in responses]

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
        if self._model is None or (self.result is None and self._steps == 0):
            raise not_trained(self, "save")
        setup, result, model = self.setup, self.result, self._model
        target = folder_to_save(
            folder, setup.folder, inputs=[setup.model.model_name_or_path], stage="sft"
        )
        lines = unfinished(self._steps)
        if result is not None:
            lines = summary(result, len(setup.rows.held_out))
        if target != setup.folder:
            setup.name_base(model, target)

        weights = whole_weights(model) if is_sharded() else None

        def write() -> None:
            if target == setup.folder and result is not None:
                write_samples(target, "random", result.sample_prompts, result.samples)
            write_policy(
                target,
                setup,
                model,
                lines,
                stage="sft",
                title="supervised fine-tuning",
                weights=weights,
            )

        on_main_process(write)
        return target

    def _count(self, step: int) -> None:
        self._steps = step

    def _loaded(self) -> Model:
        """The model, with fresh LoRA adapters where the configuration asks for them."""
        if self._model is None:
            setup = self.setup
            self._model = load_policy_to_train(
                setup.model, dtype=setup.weights_dtype, bf16=setup.bf16
            )
            use_fast_cpu_layers(self._model)
        return self._model

    def _samples(self, model: Model, prompts: Sequence[Prompt]) -> list[SampledResponse]:
        """A response to each prompt, on the main process; none on the others."""
        if not is_main_process():
            return []
        return sample_each(
            model,
            sampling_chat(self.setup),
            prompts,
            max_new_tokens=self.setup.config.sample_max_new_tokens,
            temperature=SAMPLE_TEMPERATURE,
            seed=self.setup.run.seed,
        )


def _log_end_probability(tuned: FineTuned, setup: SFTSetup) -> float | None:
    """P(end) at the end of held-out rows, logged; None where no whole response is held out."""
    if not is_main_process():
        return None
    rows, max_length = setup.rows.held_out, setup.data.max_length
    probability = end_probability(tuned.model, setup.chat, rows, max_length)
    if probability is None:
        return None
    MetricsWriter(setup.folder).write(tuned.steps, {"eval_end_probability": probability})
    print_once(*end_warnings(probability, setup.model, setup.chat))
    return probability
