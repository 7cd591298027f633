"""A reward model in training with sharded weights (FSDP2)."""

import torch
from torch import Tensor, nn

from rlhf.models.save import inner_model
from rlhf.models.scorer import Scorer
from rlhf.models.shard import fill, shard, without_weights
from rlhf.runtime.distributed import print_once


class ShardedScorer(nn.Module):
    """A scorer whose weights are in shards, one on each process, as training calls it.

    The scorer itself is called directly only inside `whole`, for evaluation.
    """

    def __init__(self, scorer: Scorer) -> None:
        super().__init__()
        self.scorer = scorer
        scorer.in_one_pass = True  # all processes make equally many passes through the layers
        self._empty = (without_weights(scorer),)  # in a tuple, so that it is no submodule

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """As in `Scorer`."""
        scores: Tensor = self.scorer(ids, lengths)
        return scores

    def whole_scorer(self) -> Scorer:
        """The scorer with whole weights, on every process, to save. Call it once, on all."""
        (scorer,) = self._empty
        fill(scorer, self.scorer)
        scorer.in_one_pass = False
        return scorer


def sharded(scorer: Scorer, device: torch.device) -> ShardedScorer:
    """The module to train. The scorer's parameters are replaced: create optimizers afterwards."""
    module = ShardedScorer(scorer)
    shard(module, inner_model(scorer.model)._no_split_modules or [], device)
    print_once(f"FSDP2: the reward model in {torch.distributed.get_world_size()} shards.")
    return module
