"""A module in training with sharded weights (FSDP2)."""

from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from rlhf.models.response_logprobs import ResponseLogprobs
from rlhf.models.save import inner_model
from rlhf.models.scorer import Scorer
from rlhf.models.shard import fill, shard, without_weights
from rlhf.runtime.distributed import print_once

Module = TypeVar("Module", Scorer, ResponseLogprobs)


class Sharded(nn.Module, Generic[Module]):
    """A module whose weights are in shards, one on each process, as training calls it.

    The inner module itself is called directly only inside `whole`, for evaluation.
    """

    def __init__(self, inner: Module) -> None:
        super().__init__()
        self.inner: Module = inner
        inner.in_one_pass = True  # all processes make equally many passes through the layers
        # In a tuple, so that it is no submodule.
        self._empty: tuple[Module] = (without_weights(inner),)

    def forward(self, *tensors: Tensor) -> Tensor:
        """As in the inner module."""
        output: Tensor = self.inner(*tensors)
        return output

    def whole_module(self) -> Module:
        """The module with whole weights, on every process, to save. Call it once, on all."""
        module: Module = self._empty[0]
        fill(module, self.inner)
        module.in_one_pass = False
        return module


def sharded(module: Module, device: torch.device, name: str) -> Sharded[Module]:
    """The module to train. Its parameters are replaced: create optimizers afterwards.

    Args:
        module: with whole weights.
        device: of this process.
        name: of the model, for a message.
    """
    outer = Sharded(module)
    shard(outer, inner_model(module.model)._no_split_modules or [], device)
    print_once(f"FSDP2: the {name} in {torch.distributed.get_world_size()} shards.")
    return outer
