"""One reward from several reward models: their mean, the lowest, or the mean minus uncertainty.

Coste et al. 2023, https://arxiv.org/abs/2310.02743: a response that one member scores high and the
others low is more often that member's fault than a good response.
"""

from collections.abc import Sequence

from torch import Tensor

from rlhf.errors import ConfigError
from rlhf.rewards.config import Aggregation


def aggregate(members: Tensor, aggregation: Aggregation, *, uncertainty_coef: float) -> Tensor:
    """One score per response, float [B]: the members' mean, lowest, or mean - coef * variance.

    members: float [B, M], on one scale and with one zero; the variance is over M, not M - 1.
    """
    if aggregation == "worst":
        return members.min(dim=1).values
    mean = members.mean(dim=1)
    if aggregation == "uncertainty":
        return mean - uncertainty_coef * members.var(dim=1, correction=0)
    return mean


def check_ensemble(aggregation: Aggregation, models: Sequence[tuple[str, float, int]]) -> None:
    """Check that reward models can form an ensemble.

    Args:
        aggregation: how the members are combined.
        models: name, weight and number of heads of each reward model.

    Raises:
        ConfigError: a weight, or fewer than two members.
    """
    weighted = [name for name, weight, _ in models if weight != 1]
    if weighted:
        raise ConfigError(
            f"reward_aggregation={aggregation} weighs all reward models equally, but {weighted[0]} "
            "has a weight; leave the weight out, or use reward_aggregation=sum.",
            code="key-conflict",
        )
    members = sum(heads for _, _, heads in models)
    if members < 2:
        raise ConfigError(
            f"reward_aggregation={aggregation} needs an ensemble, but the reward has {members} "
            "member(s); name several reward models, or train one with num_heads.",
            code="key-conflict",
        )
