"""Keys of reward-model training."""

from dataclasses import dataclass, field
from typing import Literal

from rlhf.data.rows.parse_ranking import ScoreColumns
from rlhf.errors import ConfigError
from rlhf.ops.ranking import Ties
from rlhf.training.common.early_stopping import THRESHOLD_HELP, check_early_stopping
from rlhf.training.common.ranges import check_ranges

# Keys that say what the loss of a batch is; another value of one makes another run.
LOSS_KEYS = (
    *("loss_type", "ties", "tie_threshold", "margin_coef", "label_smoothing"),
    *("center_rewards_coefficient", "num_heads"),
)


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
    loss_type: Literal["bradley_terry", "plackett_luce"] = field(
        default="bradley_terry",
        metadata={"help": "All pairs of a ranking, or one choice after the other from the top."},
    )
    ties: Ties = field(
        default="out",
        metadata={
            "help": "Tied answers: out of the loss, half a pair in each direction, or likely where "
            "scores are nearer than a threshold (rao_kupper)."
        },
    )
    tie_threshold: float | None = field(
        default=None,
        metadata={"help": "Of rao_kupper, in raw reward; default by the rate of ties."},
    )
    margin_coef: float = field(
        default=0.0,
        metadata={"help": "Margin of a pair is this times (strength - 1), in raw reward."},
    )
    label_smoothing: float = field(
        default=0.0, metadata={"help": "Share of pairs taken to be labelled the wrong way round."}
    )
    center_rewards_coefficient: float | None = field(
        default=None,
        metadata={"help": "Weight of (sum of a pair's rewards)², which holds rewards near 0."},
    )
    annotator_weights: Literal["none", "agreement", "model"] = field(
        default="none",
        metadata={
            "help": "Weigh rankings by how reliable their annotators are: by agreement with each "
            "other, or also with models of the other half of the prompts (twice the time)."
        },
    )
    score_columns: ScoreColumns = field(
        default="reject",
        metadata={
            "help": "What score_chosen and score_rejected of pairs are for: strength (their "
            "difference is the pair's strength), ignore, or reject rows that have them."
        },
    )
    read_thoughts: bool = field(
        default=False,
        metadata={"help": "Judge the thought before a response too; default: the response alone."},
    )
    num_heads: int = field(
        default=1,
        metadata={"help": "Heads on one backbone, each on another draw of the rankings."},
    )
    early_stopping_patience: int | None = field(
        default=None,
        metadata={
            "help": "Stop after this many evaluations without a lower held-out loss, and keep "
            "the weights of the lowest."
        },
    )
    early_stopping_threshold: float = field(default=0.002, metadata={"help": THRESHOLD_HELP})
    warmup_ratio: float = field(default=0.05, metadata={"help": "Share of steps to warm up over."})
    weight_decay: float = field(default=0.01, metadata={"help": "AdamW's weight decay."})
    max_grad_norm: float = field(default=1.0, metadata={"help": "Gradients are clipped to this."})
    logging_steps: int = field(default=10, metadata={"help": "Steps between lines of metrics."})
    eval_steps: int = field(
        default=50, metadata={"help": "Steps between held-out accuracies; also before and after."}
    )
    save_steps: int = field(default=100, metadata={"help": "Steps between checkpoints."})
    save_total_limit: int = field(default=2, metadata={"help": "Checkpoints that are kept."})
    num_demonstrations: int = field(
        default=200,
        metadata={"help": "Of normalization_data, compared with nonsense for the health report."},
    )
    num_samples: int = field(
        default=16, metadata={"help": "Held-out rankings shown in samples/ with their rewards."}
    )

    def __post_init__(self) -> None:
        check_ranges(self)
        _check_loss(self)


def _check_loss(config: RewardModelConfig) -> None:
    """Refuse keys of the loss that are out of range, or that another one leaves without effect."""
    for name in ("num_heads", "num_demonstrations"):
        if getattr(config, name) < 1:
            raise ConfigError(f"{name}={getattr(config, name)}; use 1 or more.")
    check_early_stopping(config.early_stopping_patience, config.early_stopping_threshold)
    if not 0 <= config.label_smoothing < 0.5:
        raise ConfigError(
            f"label_smoothing={config.label_smoothing}: at half of the labels wrong nothing is "
            "left to learn; use 0 to below 0.5."
        )
    for name in ("tie_threshold", "center_rewards_coefficient"):
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise ConfigError(f"{name}={value}; use a number above 0, or leave it out.")
    if config.margin_coef < 0:
        raise ConfigError(f"margin_coef={config.margin_coef}; use 0 or more.")
    if config.tie_threshold is not None and config.ties != "rao_kupper":
        raise ConfigError(
            f"tie_threshold={config.tie_threshold} means nothing with ties={config.ties}; use "
            "ties=rao_kupper or leave it out."
        )
    if config.loss_type == "plackett_luce":
        for name, unset in (("ties", "out"), ("margin_coef", 0.0), ("label_smoothing", 0.0)):
            if getattr(config, name) != unset:
                raise ConfigError(
                    f"{name}={getattr(config, name)} speaks of pairs, and loss_type=plackett_luce "
                    "has choices; leave it out or use loss_type=bradley_terry."
                )
