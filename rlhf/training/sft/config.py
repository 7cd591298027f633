"""The keys of supervised fine-tuning."""

from dataclasses import dataclass, field
from typing import Literal

from rlhf.data.rows.parse import TrainOn
from rlhf.training.common.early_stopping import THRESHOLD_HELP, check_early_stopping
from rlhf.training.common.ranges import check_ranges


@dataclass(frozen=True, kw_only=True)
class SFTConfig:
    """Keys of supervised fine-tuning beside those that all training recipes share."""

    learning_rate: float = field(default=2e-5, metadata={"help": "Peak learning rate."})
    num_train_epochs: float = field(default=3.0, metadata={"help": "Passes over the rows."})
    max_steps: int | None = field(
        default=None, metadata={"help": "Optimizer steps; goes over num_train_epochs."}
    )
    per_device_train_batch_size: int = field(
        default=8, metadata={"help": "Rows a process reads at once (packed rows where packed)."}
    )
    gradient_accumulation_steps: int = field(
        default=1, metadata={"help": "Batches summed up to one optimizer step."}
    )
    train_on: TrainOn = field(
        default="all",
        metadata={"help": "Of rows of messages: all assistant turns, or the last one alone."},
    )
    packing: bool = field(
        default=True,
        metadata={"help": "Pack short rows up to max_length; they do not see each other."},
    )
    lr_scheduler_type: Literal["cosine", "linear", "constant"] = field(
        default="cosine", metadata={"help": "Learning rate after the warm-up."}
    )
    warmup_ratio: float = field(default=0.05, metadata={"help": "Share of steps to warm up over."})
    weight_decay: float = field(default=0.0, metadata={"help": "AdamW's weight decay."})
    max_grad_norm: float = field(default=1.0, metadata={"help": "Gradients are clipped to this."})
    logging_steps: int = field(default=10, metadata={"help": "Steps between lines of metrics."})
    eval_steps: int = field(
        default=50, metadata={"help": "Steps between held-out losses; also before and after."}
    )
    save_steps: int = field(default=100, metadata={"help": "Steps between checkpoints."})
    save_total_limit: int = field(default=2, metadata={"help": "Checkpoints that are kept."})
    early_stopping_patience: int | None = field(
        default=None,
        metadata={
            "help": "Stop after this many evaluations without a lower held-out loss, and keep "
            "the weights of the lowest."
        },
    )
    early_stopping_threshold: float = field(default=0.002, metadata={"help": THRESHOLD_HELP})
    num_samples: int = field(
        default=16, metadata={"help": "Prompts answered before and after, in samples/."}
    )
    sample_max_new_tokens: int = field(
        default=128, metadata={"help": "Longest answer in samples/, in tokens."}
    )

    def __post_init__(self) -> None:
        check_ranges(self)
        check_early_stopping(self.early_stopping_patience, self.early_stopping_threshold)
