"""Keys of the reward."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from rlhf.errors import ConfigError
from rlhf.rewards.spec import RewardSpec, parse_rewards
from rlhf.rewards.templates import KWARGS_HELP, TEMPLATE_HELP, JudgeTemplate, judge_templates
from rlhf.runtime.field_types import check_field_types

Normalization = Literal["none", "mean", "mean_std", "probability"]
OnError = Literal["stop", "skip"]
Aggregation = Literal["sum", "mean", "worst", "uncertainty"]
UNCERTAINTY_COEF = 0.5


@dataclass(frozen=True, kw_only=True)
class RewardConfig:
    """What responses are scored with, and how scores of several sources are combined."""

    JSON_KEYS: ClassVar[Sequence[str]] = ("reward_chat_template_kwargs",)

    reward: list[str] = field(
        default_factory=list,
        metadata={
            "help": "One or more of: a reward model's folder or hub id, file.py:function, or the "
            "YAML file of a generative reward model; each may be WEIGHT*SOURCE. Required."
        },
    )
    normalize_reward: Normalization = field(
        default="mean_std",
        metadata={
            "help": "mean: subtract a reward model's mean on the demonstrations. mean_std: also "
            "divide by its standard deviation there. none: use the raw logits. probability: of a "
            "model of verdicts, the probability that the response is correct."
        },
    )
    reward_aggregation: Aggregation = field(
        default="sum",
        metadata={
            "help": "sum: add reward models up. mean, worst, uncertainty (mean - coef * variance): "
            "treat reward models and their heads as the members of one ensemble."
        },
    )
    reward_uncertainty_coef: float | None = field(
        default=None,
        metadata={"help": "Coefficient of reward_aggregation=uncertainty. Default: 0.5."},
    )
    on_reward_error: OnError = field(
        default="stop",
        metadata={
            "help": "At a response without a usable reward: stop the run, or skip and count the "
            "response (at most one in a hundred of an iteration)."
        },
    )
    reward_chat_template: list[str] | None = field(default=None, metadata={"help": TEMPLATE_HELP})
    reward_chat_template_kwargs: str | None = field(default=None, metadata={"help": KWARGS_HELP})

    def __post_init__(self) -> None:
        check_field_types(self)
        coef = self.reward_uncertainty_coef
        if coef is not None and not 0 < coef < float("inf"):
            raise ConfigError(
                f"reward_uncertainty_coef={coef}; use a number above 0.", code="bad-value"
            )
        if coef is not None and self.reward_aggregation != "uncertainty":
            raise ConfigError(
                f"reward_uncertainty_coef={coef} has no effect with reward_aggregation="
                f"{self.reward_aggregation}; leave it out or use uncertainty.",
                code="key-conflict",
            )
        if self.reward:
            self.templates(parse_rewards(self.reward), raw=False)

    @property
    def uncertainty_coef(self) -> float:
        """`reward_uncertainty_coef`, or its default."""
        return self.reward_uncertainty_coef or UNCERTAINTY_COEF

    def templates(self, specs: Sequence[RewardSpec], *, raw: bool) -> dict[str, JudgeTemplate]:
        """Each reward model's chat template by name; none where prompts are `raw` in every stage.

        Raises:
            ConfigError: another number of templates than reward models, or text that is not JSON.
        """
        return judge_templates(
            [spec.name for spec in specs if not spec.is_function],
            self.reward_chat_template,
            self.reward_chat_template_kwargs,
            default="none" if raw else "auto",
        )
