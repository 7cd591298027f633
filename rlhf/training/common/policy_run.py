"""The run of a trainer of policies on labels: load, sample before and after, generate, save."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import torch
from accelerate import PartialState

from rlhf.models.cpu_kernels.layers import use_fast_cpu_layers
from rlhf.models.generation.generate import SampledResponse
from rlhf.models.load import enable_gradient_checkpointing
from rlhf.runtime.distributed import is_main_process, on_main_process
from rlhf.training.common.arguments import check_not_trained, not_trained
from rlhf.training.common.config import PolicyTrainingConfig
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
from rlhf.training.common.setup import RunSetup
from rlhf.types import Prompt, Ranking, Thumb

LabelRow = TypeVar("LabelRow", Ranking, Thumb)
LabelConfig = TypeVar("LabelConfig", bound=PolicyTrainingConfig)


class FinishedRun(Protocol):
    """What `save` needs of a trainer's result."""

    @property
    def sample_prompts(self) -> Sequence[Prompt]: ...

    @property
    def samples(self) -> Mapping[str, Sequence[SampledResponse]]: ...


class PolicyRun(Generic[LabelRow, LabelConfig]):
    """The state of a trainer's run that does not depend on its loss.

    Args:
        trainer: the trainer, which messages name.
        setup: the checked run.
        stage: of the manifest.
        title: of the model card and the table of metrics.
    """

    def __init__(
        self, trainer: object, setup: RunSetup[LabelRow, LabelConfig], *, stage: str, title: str
    ) -> None:
        self.name = type(trainer).__name__
        self.setup: RunSetup[LabelRow, LabelConfig] = setup
        self.stage, self.title = stage, title
        self.model: Model | None = None
        self.started = False
        self.steps = 0  # optimizer steps taken

    def start(self) -> Path | None:
        """Open the run folder, load the model and check that it can be saved.

        Returns the checkpoint to resume from.

        Raises:
            ConfigError: it was called before.
        """
        check_not_trained(self.name, started=self.started)
        self.setup.open_folder()
        self.started = True
        resume = resume_point(self.setup.run)
        model = self.loaded()
        self.setup.check_can_save(model)
        self.setup.name_base(model, self.setup.folder)
        return resume

    def count(self, step: int) -> None:
        """Take in the number of optimizer steps so far."""
        self.steps = step

    def finish(self, model: Model, steps: int) -> None:
        """Take in the trained model, which FSDP has replaced, and its optimizer steps."""
        self.model = model
        self.count(steps)

    def loaded(self) -> Model:
        """The model on this process's device, with fresh LoRA adapters where configured."""
        if self.model is None:
            setup = self.setup
            torch.manual_seed(setup.run.seed)  # LoRA's first matrices are drawn at random
            model = load_policy_to_train(setup.model, dtype=setup.weights_dtype, bf16=setup.bf16)
            use_fast_cpu_layers(model)
            if setup.model.gradient_checkpointing:
                enable_gradient_checkpointing(model)
            model.to(PartialState().device)
            self.model = model
        return self.model

    def sample_prompts(self) -> list[Prompt]:
        """Prompts for samples/, held-out ones where there are any; the same on every process."""
        rows = self.setup.rows.held_out or self.setup.rows.train
        prompts = list({str(row.prompt): row.prompt for row in rows}.values())
        count = min(self.setup.config.num_samples, len(prompts))
        return random.Random(self.setup.run.seed).sample(prompts, count)

    def samples(self, prompts: Sequence[Prompt]) -> list[SampledResponse]:
        """A response to each prompt, on the main process; none on the others."""
        if not is_main_process():
            return []
        seed = self.setup.run.seed
        return self.sampled(prompts, None, temperature=SAMPLE_TEMPERATURE, seed=seed)

    def sampled(
        self,
        prompts: Sequence[Prompt],
        max_new_tokens: int | None,
        *,
        temperature: float,
        seed: int,
    ) -> list[SampledResponse]:
        """A response to each prompt, on this process.

        Args:
            prompts: the prompts.
            max_new_tokens: longest response; None takes the configuration's.
            temperature: 0 for the likeliest tokens.
            seed: seed of the sampling noise.
        """
        length = self.setup.config.sample_max_new_tokens
        return sample_each(
            self.loaded(),
            self.setup.chat,
            prompts,
            max_new_tokens=length if max_new_tokens is None else max_new_tokens,
            temperature=temperature,
            seed=seed,
        )

    def save(
        self, folder: str | Path | None, result: FinishedRun | None, metrics: Mapping[str, str]
    ) -> Path:
        """Write the trained model; return its folder.

        Args:
            folder: None for the run folder, which gets samples/ too.
            result: of a finished run; None for an interrupted one.
            metrics: of a finished run, for people.

        Raises:
            ConfigError: nothing is trained yet, or the folder holds another model.
        """
        if self.model is None or (result is None and self.steps == 0):
            raise not_trained(self.name, "save")
        setup, model = self.setup, self.model
        target = folder_to_save(
            folder, setup.folder, inputs=[setup.model.model_name_or_path], stage=self.stage
        )
        if target != setup.folder:
            setup.name_base(model, target)
        lines = unfinished(self.steps) if result is None else metrics

        def write() -> None:
            if target == setup.folder and result is not None:
                write_samples(target, "random", result.sample_prompts, result.samples)
            write_policy(target, setup, model, lines, stage=self.stage, title=self.title)

        on_main_process(write)
        return target
