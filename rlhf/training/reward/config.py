"""Keys of reward-model training."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from rlhf.data.rows.parse_ranking import ScoreColumns
from rlhf.errors import ConfigError
from rlhf.runtime.field_types import changed_fields
from rlhf.training.common.config import TrainingConfig, check_finite
from rlhf.types import Ties

# Keys that define the loss of a batch; another value of one makes another run.
LOSS_KEYS = (
    *("loss_type", "ties", "tie_threshold", "margin_coef", "label_smoothing"),
    *("center_rewards_coefficient", "num_heads"),
)
# Keys that only rankings have a use for.
RANKING_KEYS = (
    *LOSS_KEYS,
    *("annotator_weights", "score_columns", "weight_column", "probability_column"),
)
# Keys that have no effect, or another meaning, if rows say how people split.
NOT_SOFT = ("loss_type", "ties", "margin_coef", "label_smoothing", "annotator_weights")
Objective = Literal["rankings", "outcome", "axes"]


@dataclass(frozen=True, kw_only=True)
class RewardModelConfig(TrainingConfig):
    """Keys of reward-model training."""

    JSON_KEYS: ClassVar[Sequence[str]] = ("axis_weights",)

    objective: Objective = field(
        default="rankings",
        metadata={
            "help": "Labels to train on. rankings: which of several responses is better. outcome: "
            "whether a response is correct, as a probability. axes: ratings of a response, with a "
            "head for each axis of axis_weights."
        },
    )
    axis_weights: str | None = field(
        default=None,
        metadata={
            "help": 'Weight of each axis in the reward as JSON, such as {"helpful": 1, "brief": '
            "0.5}, per standard deviation of the axis's ratings. An axis of weight 0 is trained "
            "and measured only. Required by objective=axes."
        },
    )
    normalization_data: str | None = field(
        default=None,
        metadata={"help": "Demonstrations; the reward's mean on them becomes 0."},
    )
    num_train_epochs: float = field(default=1.0, metadata={"help": "Passes over the prompts."})
    per_device_train_batch_size: int = field(
        default=8,
        metadata={"help": "Prompts, each with all its responses, that a process reads at once."},
    )
    weight_decay: float = field(default=0.01, metadata={"help": "AdamW's weight decay."})
    loss_type: Literal["bradley_terry", "plackett_luce"] = field(
        default="bradley_terry",
        metadata={
            "help": "bradley_terry: all pairs of a ranking. plackett_luce: its choices, best first."
        },
    )
    ties: Ties = field(
        default="out",
        metadata={
            "help": "Tied responses. out: not in the loss. half: half a pair in each direction. "
            "rao_kupper: a tie is likely if the scores differ by less than a threshold."
        },
    )
    tie_threshold: float | None = field(
        default=None,
        metadata={
            "help": "Threshold of rao_kupper, in raw reward. Default: from the share of ties."
        },
    )
    margin_coef: float = field(
        default=0.0,
        metadata={"help": "The margin of a pair is this times (strength - 1), in raw reward."},
    )
    label_smoothing: float = field(
        default=0.0, metadata={"help": "Share of pairs that are assumed to be labelled wrong."}
    )
    center_rewards_coefficient: float | None = field(
        default=None,
        metadata={
            "help": "Weight of (sum of a pair's rewards)², a loss that keeps rewards near 0."
        },
    )
    annotator_weights: Literal["none", "agreement", "model"] = field(
        default="none",
        metadata={
            "help": "Weigh rankings by the estimated reliability of their annotators. agreement: "
            "from how annotators agree. model: also from a model of the other half of the "
            "prompts, in twice the time."
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
    weight_column: str | None = field(
        default=None,
        metadata={
            "help": "Column of train_data with the weight of each ranking in the loss, above 0; "
            "their mean counts as 1. Default: all rankings weigh the same."
        },
    )
    probability_column: str | None = field(
        default=None,
        metadata={
            "help": "Column with the share of people who prefer a response, in place of one "
            "winner: a number for chosen, or [first, second, probability] of each pair. Rows "
            "without it are ordered by their ranks."
        },
    )
    read_thoughts: bool = field(
        default=False,
        metadata={"help": "Score the thought before a response too. Default: only the response."},
    )
    num_heads: int = field(
        default=1,
        metadata={
            "help": "Heads on one backbone, each trained on its own random draw of the rankings."
        },
    )
    num_demonstrations: int = field(
        default=200,
        metadata={
            "help": "Rows of normalization_data that the health report compares with shuffled, "
            "empty and swapped responses."
        },
    )
    num_samples: int = field(
        default=16, metadata={"help": "Held-out rankings to show in samples/ with their rewards."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_loss(self)
        _check_probabilities(self)
        _check_objective(self)

    @property
    def weight_of_axis(self) -> Mapping[str, float]:
        """`axis_weights` by axis; empty without the key."""
        return {} if self.axis_weights is None else _axis_weights(self.axis_weights)


def _check_loss(config: RewardModelConfig) -> None:
    """Check that keys of the loss are in range, and that each has an effect."""
    check_finite(config, ("tie_threshold", "margin_coef", "center_rewards_coefficient"))
    for name in ("num_heads", "num_demonstrations"):
        if getattr(config, name) < 1:
            raise ConfigError(f"{name}={getattr(config, name)}; use 1 or more.", code="bad-value")
    if not 0 <= config.label_smoothing < 0.5:
        raise ConfigError(
            f"label_smoothing={config.label_smoothing}: labels of which half are wrong teach "
            "nothing; use 0 to below 0.5.",
            code="bad-value",
        )
    for name in ("tie_threshold", "center_rewards_coefficient"):
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise ConfigError(
                f"{name}={value}; use a number above 0, or leave it out.", code="bad-value"
            )
    if config.margin_coef < 0:
        raise ConfigError(f"margin_coef={config.margin_coef}; use 0 or more.", code="bad-value")
    if config.tie_threshold is not None and config.ties != "rao_kupper":
        raise ConfigError(
            f"tie_threshold={config.tie_threshold} has no effect with ties={config.ties}; use "
            "ties=rao_kupper or leave it out.",
            code="key-conflict",
        )
    if config.loss_type == "plackett_luce":
        for name, unset in (("ties", "out"), ("margin_coef", 0.0), ("label_smoothing", 0.0)):
            if getattr(config, name) != unset:
                raise ConfigError(
                    f"{name}={getattr(config, name)} is for pairs, but loss_type=plackett_luce "
                    "uses choices; leave it out or use loss_type=bradley_terry.",
                    code="key-conflict",
                )


def _check_probabilities(config: RewardModelConfig) -> None:
    """Check that no key contradicts probabilities of the pairs."""
    if config.probability_column is None:
        return
    for name in changed_fields(config, NOT_SOFT):
        raise ConfigError(
            f"{name}={getattr(config, name)} is for one winner of a pair, but "
            f"probability_column={config.probability_column} says how people split; leave one "
            "of them out.",
            code="key-conflict",
        )


def _check_objective(config: RewardModelConfig) -> None:
    """Check that the keys are for labels of the objective's kind."""
    is_axes = config.objective == "axes"
    if is_axes and config.axis_weights is None:
        raise ConfigError(
            "objective=axes needs axis_weights, the weight of each axis in the reward, such as "
            '{"helpful": 1, "brief": 0.5}.',
            code="missing-key",
        )
    if not is_axes and config.axis_weights is not None:
        raise ConfigError(
            f"axis_weights has no effect with objective={config.objective}; leave it out or use "
            "objective=axes.",
            code="key-conflict",
        )
    if config.axis_weights is not None:
        _axis_weights(config.axis_weights)
    if config.objective == "rankings":
        return
    for name in changed_fields(config, RANKING_KEYS):
        raise ConfigError(
            f"{name}={getattr(config, name)} is for rankings, but objective={config.objective} "
            "trains on labels of single responses; leave it out.",
            code="key-conflict",
        )


def _axis_weights(text: str) -> dict[str, float]:
    """The weights of a JSON object by axis.

    Raises:
        ConfigError: the text is no such object, or all weights are 0.
    """
    try:
        weights = json.loads(text)
    except ValueError as error:
        raise ConfigError(
            f"axis_weights={text!r} is not JSON ({error}).", code="bad-value"
        ) from None
    if not isinstance(weights, dict) or not weights:
        raise ConfigError(
            f'axis_weights={text!r} is not a JSON object; write {{"axis": weight}}.',
            code="bad-value",
        )
    for axis, weight in weights.items():
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not axis or not is_number or not math.isfinite(weight):
            raise ConfigError(
                f"axis_weights: {axis!r} has the weight {weight!r}; use a finite number.",
                code="bad-value",
            )
    if not any(weights.values()):
        raise ConfigError(
            f"axis_weights={text!r}: all weights are 0, so every reward would be 0.",
            code="bad-value",
        )
    return {axis: float(weight) for axis, weight in weights.items()}
