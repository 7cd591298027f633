"""Weights of a policy for another program: LoRA merged, whole, in a checkpoint's names."""

import copy
import json
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper
from torch import Tensor
from transformers import PreTrainedModel

from rlhf.models.adapters import POLICY
from rlhf.models.generation_config import repair_generation_config
from rlhf.models.save import inner_model


@torch.no_grad()
def merged_weights(policy: PreTrainedModel | PeftModel) -> dict[str, Tensor]:
    """The policy's weights by their names in a checkpoint of its base; the policy is not changed.

    Where adapters are disabled, the weights are those of the base. An adapter is added to copies of
    its layers, one at a time: merging in place and back would round the base.
    """
    inner = inner_model(policy)
    if not isinstance(policy, PeftModel):
        return dict(inner.state_dict())
    weights: dict[str, Tensor] = {}
    replaced: list[str] = []  # prefixes of modules whose own tensors are not in a checkpoint
    for name, module in inner.named_modules():
        if isinstance(module, LoraLayer):
            weights |= _of_layer(name, module)
            replaced.append(f"{name}.")
        elif isinstance(module, ModulesToSaveWrapper):
            used = (
                module.original_module
                if module.disable_adapters
                else module.modules_to_save[POLICY]
            )
            weights |= {f"{name}.{key}": tensor for key, tensor in used.state_dict().items()}
            replaced.append(f"{name}.")
    others = inner.state_dict().items()
    return {
        name: tensor for name, tensor in others if not name.startswith(tuple(replaced))
    } | weights


def _of_layer(name: str, layer: BaseTunerLayer) -> dict[str, Tensor]:
    """The tensors of a layer with its adapter added, in float32; without it if it is disabled."""
    merged: Any = copy.deepcopy(layer)
    if not layer.disable_adapters:
        merged.get_base_layer().float()
        merged.merge(adapter_names=[POLICY])
    state: dict[str, Tensor] = merged.get_base_layer().state_dict()
    return {f"{name}.{key}": tensor for key, tensor in state.items()}


def write_weights(
    folder: Path, policy: PreTrainedModel | PeftModel, *, dtype: torch.dtype | None = None
) -> None:
    """Write config.json and the merged weights to a new folder, as `save_pretrained` does.

    Args:
        folder: is made.
        policy: with whole weights.
        dtype: of the written weights; None for that of each.
    """
    inner = inner_model(policy)
    repair_generation_config(inner, str(inner.name_or_path))
    weights = merged_weights(policy)
    if dtype is not None:
        weights = _cast(weights, dtype)
    inner.save_pretrained(str(folder), state_dict=weights)
    if dtype is not None:  # the saved configuration has the type of the model in memory
        path = folder / "config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        config["dtype"] = str(dtype).removeprefix("torch.")
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _cast(weights: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """The weights in another type; tied ones stay one tensor."""
    made: dict[int, Tensor] = {}
    for tensor in weights.values():
        if tensor.is_floating_point():
            made.setdefault(tensor.data_ptr(), tensor.to(dtype))
    return {name: made.get(tensor.data_ptr(), tensor) for name, tensor in weights.items()}
