"""Keys of direct preference optimization."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from rlhf.data.rows.parse_ranking import ScoreColumns
from rlhf.errors import ConfigError
from rlhf.training.common.config import PolicyTrainingConfig, check_finite

PairLoss = Literal[
    "sigmoid", "cdpo", "robust", "hinge", "ipo", "apo_zero", "apo_down", "simpo", "orpo"
]
WITHOUT_REFERENCE = ("simpo", "orpo")
# Keys that define the loss of a batch; another value of one makes another run.
LOSS_KEYS = ("loss_type", "beta", "label_smoothing", "margin_coef", "simpo_gamma", "sft_coef")
# A key that only some losses use -> these losses.
USED_BY: dict[str, Sequence[str]] = {
    "label_smoothing": ("cdpo", "robust"),
    "margin_coef": ("sigmoid", "cdpo", "robust", "hinge", "simpo"),
    "simpo_gamma": ("simpo",),
}


@dataclass(frozen=True, kw_only=True)
class DPOConfig(PolicyTrainingConfig):
    """Keys of direct preference optimization."""

    num_train_epochs: float = field(default=1.0, metadata={"help": "Passes over the prompts."})
    per_device_train_batch_size: int = field(
        default=8,
        metadata={"help": "Prompts, each with all its responses, that a process reads at once."},
    )
    loss_type: PairLoss = field(
        default="sigmoid",
        metadata={
            "help": "Loss of a pair. sigmoid is DPO; cdpo and robust assume a share of wrong "
            "labels (label_smoothing); hinge, ipo and apo_* are other shapes; simpo and orpo need "
            "no reference model."
        },
    )
    beta: float = field(
        default=0.1,
        metadata={
            "help": "Inverse temperature: a larger one stays closer to the initial model. ipo: a "
            "pair is pulled to a margin of 1 / (2 beta) nats per token. orpo: weight of the odds "
            "ratio. simpo takes 2 to 10."
        },
    )
    label_smoothing: float = field(
        default=0.0,
        metadata={"help": "Share of pairs that cdpo and robust assume to be labelled wrong."},
    )
    margin_coef: float = field(
        default=0.0,
        metadata={
            "help": "The margin of a pair is this times (strength - 1), in units of the loss's "
            "argument."
        },
    )
    simpo_gamma: float = field(
        default=0.0, metadata={"help": "Margin of every pair with loss_type simpo."}
    )
    sft_coef: float = field(
        default=0.0,
        metadata={
            "help": "Weight of SFT's loss on the chosen responses, per token, which keeps their "
            "probability up."
        },
    )
    score_columns: ScoreColumns = field(
        default="reject",
        metadata={
            "help": "Use of the columns score_chosen and score_rejected. strength: their "
            "difference is the strength of the pair. ignore: not used. reject: the row is a bad "
            "row."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_finite(self, ("beta", "margin_coef", "simpo_gamma", "sft_coef"))
        _check_ranges(self)
        _check_uses(self)

    @property
    def needs_reference(self) -> bool:
        """Whether the loss compares with the initial model."""
        return self.loss_type not in WITHOUT_REFERENCE


def _check_ranges(config: DPOConfig) -> None:
    if not config.beta > 0:
        raise ConfigError(f"beta={config.beta}; use a number above 0.", code="bad-value")
    for name in ("margin_coef", "simpo_gamma", "sft_coef"):
        if getattr(config, name) < 0:
            raise ConfigError(f"{name}={getattr(config, name)}; use 0 or more.", code="bad-value")
    if not 0 <= config.label_smoothing < 0.5:
        raise ConfigError(
            f"label_smoothing={config.label_smoothing}: labels of which half are wrong teach "
            "nothing; use 0 to below 0.5.",
            code="bad-value",
        )


def _check_uses(config: DPOConfig) -> None:
    """Check that each key has an effect on the loss, and that the loss has its key."""
    for name, losses in USED_BY.items():
        if getattr(config, name) and config.loss_type not in losses:
            raise ConfigError(
                f"{name}={getattr(config, name)} has no effect with loss_type={config.loss_type}; "
                f"leave it out, or use {' or '.join(losses)}.",
                code="key-conflict",
            )
    if config.loss_type in USED_BY["label_smoothing"] and not config.label_smoothing:
        raise ConfigError(
            f"loss_type={config.loss_type} needs the share of wrong labels; set label_smoothing, "
            "0.1 for instance, or use loss_type=sigmoid.",
            code="missing-key",
        )
    if config.loss_type == "orpo" and config.sft_coef:
        raise ConfigError(
            f"sft_coef={config.sft_coef}: loss_type=orpo already has SFT's loss, with weight 1; "
            "leave it out.",
            code="key-conflict",
        )
