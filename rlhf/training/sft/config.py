"""The keys of supervised fine-tuning."""

from dataclasses import dataclass, field
from typing import Literal

from rlhf.data.rows.parse import TrainOn
from rlhf.training.common.config import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class SFTConfig(TrainingConfig):
    """Keys of supervised fine-tuning."""

    learning_rate: float = field(default=2e-5, metadata={"help": "Peak learning rate."})
    num_train_epochs: float = field(default=3.0, metadata={"help": "Passes over the rows."})
    per_device_train_batch_size: int = field(
        default=8,
        metadata={"help": "Rows that a process reads at once; packed rows with packing."},
    )
    train_on: TrainOn = field(
        default="all",
        metadata={"help": "Assistant turns of {messages} rows to train on: all, or the last one."},
    )
    packing: bool = field(
        default=True,
        metadata={"help": "Pack short rows up to max_length; they do not see each other."},
    )
    lr_scheduler_type: Literal["cosine", "linear", "constant"] = field(
        default="cosine", metadata={"help": "Learning rate after the warm-up."}
    )
    num_samples: int = field(
        default=16,
        metadata={"help": "Prompts to sample responses for before and after, in samples/."},
    )
    sample_max_new_tokens: int = field(
        default=128, metadata={"help": "Longest response in samples/, in tokens."}
    )
