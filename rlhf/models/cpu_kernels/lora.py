"""LoRA layers in fewer passes over the activations, for training under bf16 autocast on a CPU."""

from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn


def use_fast_cpu_lora(model: nn.Module) -> None:
    """Compute the LoRA layers of `model` in fewer passes under autocast on a CPU.

    peft casts a layer's input to the adapter's float32, autocast casts it back, and scaling and sum
    are passes over the output. Here the layer's output is added inside the second product, whose
    sum is rounded to bf16 once instead of three times. docs/research/lab-notes.md has measurements.
    """
    for module in model.modules():
        if type(module) is LoraLinear and module.weight.device.type == "cpu":
            module.__class__ = FastLora


class FastLora(LoraLinear):
    """peft's layer; `W x + scaling B A x` in two products and a sum where one adapter is active."""

    def forward(self, x: Tensor, *arguments: Any, **options: Any) -> Tensor:
        """[..., out] of [..., in]."""
        adapters = [name for name in self.active_adapters if name in self.lora_A]
        if not self._is_plain(adapters) or arguments or options:
            return super().forward(x, *arguments, **options)
        (name,) = adapters
        base: Tensor = self.base_layer(x)
        down, up = self.lora_A[name].weight, self.lora_B[name].weight
        assert isinstance(down, Tensor)
        assert isinstance(up, Tensor)
        low = nn.functional.linear(x, down).flatten(0, -2) * self.scaling[name]
        return torch.addmm(base.flatten(0, -2), low, up.T).view_as(base)

    def _is_plain(self, adapters: list[str]) -> bool:
        """Whether autocast casts the operands, and nothing else is to be computed."""
        return (
            len(adapters) == 1
            and torch.is_autocast_enabled("cpu")
            and not self.disable_adapters
            and not self.merged
            and adapters[0] not in self.lora_variant
            and isinstance(self.lora_dropout[adapters[0]], nn.Identity)
            and not self.lora_bias[adapters[0]]
        )
