"""Keys of reward-model training."""

from dataclasses import dataclass, field
from typing import Literal

from rlhf.training.ranges import check_ranges


@dataclass(frozen=True, kw_only=True)
class RewardModelConfig:
    """Keys of reward-model training beside those that all training recipes share."""

    normalization_data: str | None = field(
        default=None,
        metadata={"help": "Demonstrations; the reward's mean on them becomes 0."},
    )
    learning_rate: float = field(default=1e-5, metadata={"help": "Peak learning rate."})
    num_train_epochs: float = field(default=1.0, metadata={"help": "Passes over the prompts."})
    max_steps: int | None = field(
        default=None, metadata={"help": "Optimizer steps; goes over num_train_epochs."}
    )
    per_device_train_batch_size: int = field(
        default=8, metadata={"help": "Prompts, each with all its answers, read at once."}
    )
    gradient_accumulation_steps: int = field(
        default=1, metadata={"help": "Batches summed up to one optimizer step."}
    )
    ties: Literal["out", "half"] = field(
        default="out",
        metadata={"help": "Tied answers: out of the loss, or half a pair in each direction."},
    )
    warmup_ratio: float = field(default=0.05, metadata={"help": "Share of steps to warm up over."})
    weight_decay: float = field(default=0.01, metadata={"help": "AdamW's weight decay."})
    max_grad_norm: float = field(default=1.0, metadata={"help": "Gradients are clipped to this."})
    logging_steps: int = field(default=10, metadata={"help": "Steps between lines of metrics."})
    eval_steps: int = field(
        default=50, metadata={"help": "Steps between held-out accuracies; also before and after."}
    )
    save_steps: int = field(default=100, metadata={"help": "Steps between checkpoints."})
    save_total_limit: int = field(default=2, metadata={"help": "Checkpoints that are kept."})
    num_samples: int = field(
        default=16, metadata={"help": "Held-out rankings shown in samples/ with their rewards."}
    )

    def __post_init__(self) -> None:
        check_ranges(self)
