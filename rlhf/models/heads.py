"""Several reward heads on one backbone: the ensemble beside a plain reward model.

The model at a folder's root has one head, the mean of all, and loads with plain transformers.
`heads.safetensors` holds them apart, each with its own zero.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from rlhf.models.load import reward_head

HEADS = "heads.safetensors"


@dataclass(frozen=True, kw_only=True)
class Heads:
    """Linear heads on the last hidden state; H of them."""

    weight: Tensor  # float [H, D]
    offset: Tensor  # float [H], each head's mean on demonstrations minus the mean of all heads


def merge_heads(model: PreTrainedModel) -> Tensor | None:
    """Give `model` the mean of its heads as its only one, in place; the heads [H, D] as they were.

    The mean of linear heads is a linear head: what the heads say on average, exactly. None where
    the model has one head.
    """
    weight: Tensor = reward_head(model).weight.detach().clone()
    if len(weight) == 1:
        return None
    head = nn.Linear(weight.shape[1], 1, bias=False, dtype=weight.dtype, device=weight.device)
    head.weight.data.copy_(weight.mean(dim=0, keepdim=True))
    model.score = head
    return weight


def save_heads(folder: Path, heads: Heads) -> None:
    """Write `folder/heads.safetensors`, whole or not at all."""
    staging = folder / f".{HEADS}"
    save_file({"weight": heads.weight.float().cpu(), "offset": heads.offset.float().cpu()}, staging)
    staging.replace(folder / HEADS)


def load_heads(path: str | Path, model: PreTrainedModel) -> Heads:
    """The folder's heads; where it has none (or `path` is a hub id) the model's own, offset 0."""
    file = Path(path) / HEADS
    if not file.is_file():
        weight: Tensor = reward_head(model).weight.detach()
        return Heads(weight=weight, offset=torch.zeros(len(weight)))
    tensors = load_file(file)
    return Heads(weight=tensors["weight"], offset=tensors["offset"])
