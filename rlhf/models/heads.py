"""Several reward heads on one backbone: an ensemble stored next to a plain reward model.

The model at a folder's root has one head, the mean of all, and loads with plain transformers.
`heads.safetensors` holds the separate heads, each with its own offset.
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
    """Replace the heads of `model` by their mean, in place; return the heads [H, D].

    The mean of linear heads is a linear head whose score is exactly their mean score. None where
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
    """Write `folder/heads.safetensors` atomically."""
    staging = folder / f".{HEADS}"
    save_file({"weight": heads.weight.float().cpu(), "offset": heads.offset.float().cpu()}, staging)
    staging.replace(folder / HEADS)


def load_heads(path: str | Path, model: PreTrainedModel) -> Heads:
    """The folder's heads; without any (or for a hub id) the model's own head with offset 0."""
    file = Path(path) / HEADS
    if not file.is_file():
        weight: Tensor = reward_head(model).weight.detach()
        return Heads(weight=weight, offset=torch.zeros(len(weight)))
    tensors = load_file(file)
    return Heads(weight=tensors["weight"], offset=tensors["offset"])
