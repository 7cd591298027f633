"""Keys of sampling next to training, and of the correction for a sampler's other log-probs."""

from dataclasses import dataclass, field
from typing import Literal

from rlhf.rollouts.config import RolloutConfig
from rlhf.types import ImportanceCorrection, ImportanceLevel

DEFAULT_CAP = 2.0  # of importance weights, with another sampler than the policy


@dataclass(frozen=True, kw_only=True)
class CorrectionConfig(RolloutConfig):
    """Keys of sampling next to training."""

    rollout_sleep: bool = field(
        default=False,
        metadata={
            "help": "Free the started server's GPU memory while the run trains on the same GPU."
        },
    )
    rollout_lag: int = field(
        default=0,
        metadata={
            "help": "1: sample the responses of the next iteration while this one is trained on, "
            "from weights that are one update old."
        },
    )
    recompute_logprobs: Literal["auto", "always", "never"] = field(
        default="auto",
        metadata={
            "help": "Whether the log-probs of sampled tokens are computed once more as training "
            "computes them, in one more forward pass. auto: with importance_weight_cap, with "
            "rollout_lag, and with every rollout_engine but native."
        },
    )
    importance_weight_cap: float | None = field(
        default=None,
        metadata={
            "help": "Weigh tokens by p_train / p_sampler, up to this: a correction where sampling "
            "and training compute different log-probs. Default: 2 with rollout_lag and with an "
            "engine other than native."
        },
    )
    importance_weight_floor: float | None = field(
        default=None, metadata={"help": "Smallest weight that importance_correction=mask keeps."}
    )
    importance_correction: ImportanceCorrection = field(
        default="truncate",
        metadata={
            "help": "truncate: larger weights are importance_weight_cap. mask: tokens outside of "
            "importance_weight_floor and importance_weight_cap are left out of the policy's loss."
        },
    )
    importance_correction_level: ImportanceLevel = field(
        default="token",
        metadata={"help": "Weights of tokens, or one weight for all tokens of a response."},
    )

    @property
    def has_other_sampler(self) -> bool:
        """Whether responses come from another program than the policy, or from older weights."""
        return self.rollout_engine != "native" or self.rollout_lag > 0

    @property
    def recomputes_logprobs(self) -> bool:
        """Whether the log-probs of sampled tokens are computed once more, as in training."""
        if self.recompute_logprobs == "auto":
            return self.has_other_sampler or self.importance_weight_cap is not None
        return self.recompute_logprobs == "always"

    @property
    def weight_cap(self) -> float | None:
        """Largest importance weight; None for no weights."""
        if self.importance_weight_cap is None and self.has_other_sampler:
            return DEFAULT_CAP
        return self.importance_weight_cap
