"""Linear layers with 8-bit weights: a quarter of float32's memory, for inference."""

import torch
from torch import Tensor, nn

from rlhf.errors import ConfigError


class Int8Linear(nn.Module):
    """`x @ W.T + b` with W as int8 and one scale per output: |W - q * scale| <= scale / 2.

    The weight is widened for each multiplication, which saves memory but not time.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach()
        lowest, highest = weight.aminmax(dim=1, keepdim=True)
        # A row of zeros may have any scale.
        scale = (torch.maximum(highest, -lowest).float() / 127).clamp(min=1e-12)
        self.weight: Tensor
        self.scale: Tensor
        self.register_buffer("weight", (weight / scale).round_().to(torch.int8))
        self.register_buffer("scale", scale[:, 0].to(linear.weight.dtype))
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """x: float [..., in]; float [..., out]."""
        y = nn.functional.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def to_int8(model: nn.Module) -> tuple[int, int]:
    """Replace the linear layers of a decoder in place; return its bytes before and after.

    The output layer is not replaced: it may be tied to the embedding, and its error would affect
    every probability.

    Raises:
        ConfigError: no linear layer to replace.
    """
    before, replaced = _size(model), 0
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and not name.endswith(("lm_head", "embed_out")):
            parent = model.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], Int8Linear(module))
            replaced += 1
    if not replaced:
        raise ConfigError(
            f"{type(model).__name__} has no linear layers to convert to 8 bits.", code="unsupported"
        )
    return before, _size(model)


def _size(model: nn.Module) -> int:
    tensors = [*model.parameters(), *model.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
