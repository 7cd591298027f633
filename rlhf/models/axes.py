"""A reward model's axes, such as helpful and brief: a head each, and their weighted sum.

The model at a folder's root has one head, the weighted sum of the axes, and loads with plain
transformers. Its config.json has the axes with their weights; `axes.safetensors` has their heads.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from rlhf.errors import CheckpointError
from rlhf.models.load import reward_head

AXES = "axes.safetensors"
OBJECTIVE_KEY, AXES_KEY = "rlhf_objective", "rlhf_axes"  # of config.json


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of the ratings. Its head predicts (rating - mean) / std."""

    name: str
    weight: float = 1.0  # of the head's output in the reward
    mean: float = 0.0  # of the ratings that it was trained on
    std: float = 1.0


def weights_of(axes: Sequence[Axis]) -> Tensor:
    """The weights of the axes in the reward, float [A]."""
    return torch.tensor([axis.weight for axis in axes], dtype=torch.float32)


def merge_axes(model: PreTrainedModel, axes: Sequence[Axis]) -> Tensor:
    """Replace the heads of `model` by their weighted sum, in place; return the heads [A, D].

    The weighted sum of linear heads is a linear head whose score is exactly that of their scores.
    """
    weight: Tensor = reward_head(model).weight.detach().clone()
    merged = weights_of(axes).to(weight.device) @ weight.float()
    head = nn.Linear(weight.shape[1], 1, bias=False, dtype=weight.dtype, device=weight.device)
    head.weight.data.copy_(merged[None])
    model.score = head
    return weight


def record_axes(config: PretrainedConfig, objective: str | None, axes: Sequence[Axis]) -> None:
    """Write objective and axes to the configuration, or remove those of an earlier training."""
    values = {OBJECTIVE_KEY: objective, AXES_KEY: [asdict(axis) for axis in axes] or None}
    for key, value in values.items():
        if value is not None:
            setattr(config, key, value)
        elif hasattr(config, key):
            delattr(config, key)


def save_axes(folder: Path, weight: Tensor) -> None:
    """Write the heads [A, D] to `folder/axes.safetensors` atomically."""
    staging = folder / f".{AXES}"
    save_file({"weight": weight.float().cpu().contiguous()}, staging)
    staging.replace(folder / AXES)


def load_axes(path: str | Path, model: PreTrainedModel) -> tuple[list[Axis], Tensor]:
    """The axes of a reward model and their heads [A, D]; none of any other model or a hub id.

    Raises:
        CheckpointError: config.json and the file of the heads do not fit each other.
    """
    file = Path(path) / AXES
    axes = [Axis(**each) for each in getattr(model.config, AXES_KEY, None) or []]
    if not axes or not file.is_file():
        return [], torch.zeros(0, reward_head(model).in_features)
    weight = load_file(file)["weight"]
    if len(weight) != len(axes):
        raise CheckpointError(
            f"{path}: {AXES_KEY} of config.json has {len(axes)} axes, but {AXES} has {len(weight)} "
            "heads; copy the whole folder again.",
            code="altered-model",
        )
    return axes, weight
