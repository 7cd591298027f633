"""The loss of a batch of rated responses, by the objective of the run."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rlhf.models.scorer import as_batch
from rlhf.ops.rating import outcome_loss, rating_loss
from rlhf.training.rating.data import TokenRating, labels_of
from rlhf.training.reward.config import Objective


def batch_loss(
    scorer: nn.Module, batch: Sequence[TokenRating], pad_token_id: int, objective: Objective
) -> Tensor:
    """Sum over the ratings of a batch, from one forward pass that reads each text once."""
    device = next(scorer.parameters()).device
    places: dict[tuple[int, ...], int] = {}
    index = [places.setdefault(row.ids, len(places)) for row in batch]
    scores = scorer(*as_batch(list(places), pad_token_id, device))
    rated = scores[torch.tensor(index, device=device)]
    return losses_of(rated, labels_of(batch).to(device), objective).sum()


def losses_of(scores: Tensor, labels: Tensor, objective: Objective) -> Tensor:
    """float [B, A]: the loss of each rating; 0 where there is none."""
    return outcome_loss(scores, labels) if objective == "outcome" else rating_loss(scores, labels)
