"""The training loss of a batch of rankings, by the keys of the run."""

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from rlhf.errors import ConfigError
from rlhf.models.scorer import as_batch
from rlhf.ops.ranking import (
    centering_loss,
    plackett_luce_loss,
    ranking_loss,
    soft_ranking_loss,
    tie_threshold_of,
)
from rlhf.training.reward.config import RewardModelConfig
from rlhf.training.reward.data import FlatRankings, TokenRanking, flatten


def batch_loss(
    scorer: nn.Module,
    batch: Sequence[TokenRanking],
    pad_token_id: int,
    config: RewardModelConfig,
    tie_threshold: float,
) -> Tensor:
    """Sum over the rankings of weight * loss, mean over the heads, from one forward pass.

    Args:
        scorer: the reward model.
        batch: rankings.
        pad_token_id: fills rows on the right.
        config: keys of the loss.
        tie_threshold: Rao and Kupper's η; 0 for other losses.
    """
    device = next(scorer.parameters()).device
    flat = flatten(batch)
    scores = scorer(*as_batch(flat.ids, pad_token_id, device))[flat.index.to(device)]
    weights = flat.weights.to(device)
    heads = [
        (losses_of(head_scores, flat, config, tie_threshold) * weights[:, head]).sum()
        for head, head_scores in enumerate(scores.unbind(dim=1))
    ]
    return torch.stack(heads).mean()


def losses_of(
    scores: Tensor, flat: FlatRankings, config: RewardModelConfig, tie_threshold: float
) -> Tensor:
    """float [G]: the loss of each ranking under the scores [N] of one head."""
    ranks, group_ids = flat.ranks.to(scores.device), flat.group_ids.to(scores.device)
    if flat.preferred is not None:
        losses = soft_ranking_loss(scores, flat.preferred.to(scores.device), group_ids)
    elif config.loss_type == "plackett_luce":
        losses = plackett_luce_loss(scores, ranks, group_ids)
    else:
        margins = None
        if config.margin_coef:
            # Strength 1 is a slight preference, or one of unknown strength: no margin.
            margins = config.margin_coef * (flat.strengths.to(scores.device) - 1)
        losses = ranking_loss(
            scores,
            ranks,
            group_ids,
            ties=config.ties,
            tie_threshold=tie_threshold,
            margins=margins,
            label_smoothing=config.label_smoothing,
        )
    if config.center_rewards_coefficient is not None:
        centering = centering_loss(scores, group_ids)
        losses = losses + config.center_rewards_coefficient * centering
    return losses


def settled_tie_threshold(config: RewardModelConfig, rankings: Sequence[TokenRanking]) -> float:
    """Rao and Kupper's η: the key, else from the rankings' tie rate; 0 for other losses.

    Raises:
        ConfigError: no pair is tied, or all are.
    """
    if config.ties != "rao_kupper":
        return 0.0
    if config.tie_threshold is not None:
        return config.tie_threshold
    rate = tie_rate(rankings)
    try:
        return tie_threshold_of(rate)
    except ValueError as error:
        raise ConfigError(
            f"ties=rao_kupper: {rate:.0%} of the training pairs are ties, which gives no "
            "threshold; use ties=out, or set tie_threshold.",
            code="key-conflict",
        ) from error


def tie_rate(rankings: Sequence[TokenRanking]) -> float:
    """Share of the pairs of different responses, over all rankings, that are tied.

    A response that was sampled twice always ties with itself.
    """
    tied = pairs = 0
    for ranking in rankings:
        responses = zip(map(tuple, ranking.ids), ranking.ranks, strict=True)
        for (first, first_rank), (second, second_rank) in combinations(responses, 2):
            pairs += first != second
            tied += first != second and first_rank == second_rank
    return tied / pairs if pairs else 0.0
