"""A checked run of SFT, reward modelling or DPO, before a weight is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from rlhf.data.config import DataConfig
from rlhf.data.held_out import TrainAndHeldOut
from rlhf.data.show import introduce
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.manifest import DataUse, Manifest
from rlhf.models.config import ModelConfig
from rlhf.models.context_length import beyond_training
from rlhf.models.lineage import MERGED_BASE
from rlhf.models.memory import frozen_dtype
from rlhf.models.save import rehearse_saving
from rlhf.runtime.distributed import on_main_process, print_once
from rlhf.runtime.run_folder import RunConfig, open_run_folder
from rlhf.training.common.adapter_base import keep_own_base
from rlhf.training.common.config import TrainingConfig
from rlhf.training.common.provenance import stage_manifest
from rlhf.types import Demonstration, Ranking, RatedResponse, SFTRow, Thumb

Config = TypeVar("Config", bound=TrainingConfig)
Row = TypeVar("Row", Demonstration, Ranking, RatedResponse, Thumb, SFTRow)


@dataclass(frozen=True, kw_only=True)
class RunSetup(Generic[Row, Config]):
    """All keys of a run, its tokenizer and its rows, checked."""

    run: RunConfig
    model: ModelConfig
    data: DataConfig
    config: Config
    world_size: int  # processes
    bf16: bool  # whether training computes in bf16: `ModelConfig.bf16`, resolved on this device
    chat: ChatTokenizer
    rows: TrainAndHeldOut[Row]

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.run.output_dir)

    @property
    def configs(self) -> tuple[RunConfig, ModelConfig, DataConfig, Config]:
        """All keys, in the order of config.yaml."""
        return self.run, self.model, self.data, self.config

    @property
    def uses(self) -> Sequence[DataUse]:
        """Data files, for the manifest; those of the training rows first."""
        return self.rows.uses

    @property
    def trains_policy(self) -> bool:
        """Whether rankings train a policy, instead of a reward model."""
        return False

    @property
    def weights_dtype(self) -> torch.dtype:
        """The type that the model's weights are loaded in."""
        return frozen_dtype(self.model, bf16=self.bf16)

    @property
    def notes(self) -> list[str]:
        """What a user should know before the run starts, a sentence each."""
        return [
            *self.chat.notes,
            *beyond_training(self.model.model_name_or_path, self.data.max_length),
            f"{len(self.rows.train)} rows to train on, {len(self.rows.held_out)} held out",
        ]

    def manifest(self, folder: Path, *, stage: str) -> Manifest:
        """The manifest of a model in `folder` that this run made."""
        base = self.model.model_name_or_path
        return stage_manifest(
            folder,
            stage=stage,
            base_model=base,
            chat=self.chat,
            seed=self.run.seed,
            world_size=self.world_size,
            data=self.uses,
            configs=self.configs,
            built_on=[base],
        )

    def open_folder(self) -> None:
        """Create the run folder; print `notes` and the first rows as the model reads them.

        Call it on all processes.

        Raises:
            ConfigError: the folder holds a run, or cannot be written to.
        """

        def open_and_introduce() -> None:
            folder = open_run_folder(*self.configs)
            print_once(*self.notes)
            introduce(
                folder,
                self.chat,
                self.rows.train,
                count=self.data.show_rows,
                max_length=self.data.max_length,
                for_policy=self.trains_policy,
            )

        on_main_process(open_and_introduce)

    def check_can_save(self, model: PreTrainedModel | PeftModel) -> None:
        """Save all but the weights once, so that nothing in it fails after training.

        Raises:
            CheckpointError: a part of the model that loads and cannot be saved.
        """
        on_main_process(lambda: rehearse_saving(model, self.chat))

    def name_base(self, model: PreTrainedModel | PeftModel, folder: Path) -> None:
        """Let the adapters of `model`, if any, name a base that loads by itself.

        See `keep_own_base`. Call it on all processes.
        """
        keep_own_base(
            model,
            self.model.model_name_or_path,
            folder,
            self.chat,
            dtype=self.weights_dtype,
            manifest_of=partial(self.manifest, stage=MERGED_BASE),
        )
