"""RMSNorm in fewer passes over the activations, for training on a CPU."""

from typing import Protocol

import torch
from torch import Tensor, nn

# transformers' modules whose forward is  weight * (x * rsqrt(mean(x²) + variance_epsilon)).
PLAIN = ("LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm")
# Norms whose output only linear layers read: under autocast it is rounded to bf16 for each of them
# anyway.
READ_BY_LINEAR = ("input_layernorm", "post_attention_layernorm")


def use_fast_cpu_norms(model: nn.Module) -> None:
    """Compute the norms before attention and MLP of `model` in fewer passes on a CPU.

    In PyTorch's operators each step of a norm is a pass over its activations, forward and backward,
    and under autocast its output is cast to bf16 for each of the two or three linear layers that
    read it, which keep a copy each. This version has half as many passes and one copy. The values
    are the same; under autocast a gradient is summed over those layers in bf16.
    docs/research/lab-notes.md has measurements.
    """
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in READ_BY_LINEAR and type(module).__name__ in PLAIN:
            weight: Tensor = module.weight
            if weight.device.type == "cpu":
                module.__class__ = FastRMSNorm


class FastRMSNorm(nn.Module):
    """A norm of PLAIN on a CPU. Under autocast its output has autocast's type."""

    weight: Tensor
    variance_epsilon: float

    def forward(self, hidden_states: Tensor) -> Tensor:
        """float [..., D] of float [..., D]."""
        on = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if on else hidden_states.dtype
        return _Norm.apply(hidden_states, self.weight, self.variance_epsilon, dtype)  # type: ignore[no-untyped-call, no-any-return]


class _Context(Protocol):
    """What the autograd function here uses of its context."""

    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]
    dtype: torch.dtype

    def save_for_backward(self, *tensors: Tensor) -> None: ...


class _Norm(torch.autograd.Function):
    """y = w x r with r = 1 / sqrt(mean(x²) + ε), in float32.

    With h = x r and a gradient g of y:  dw = Σ g h,  dx = r (w g - h mean(w g h)). LayerNorm's
    kernel with a mean of 0 gives dw and  r (w g - mean(w g) - h mean(w g h)).
    """

    @staticmethod
    def forward(
        ctx: _Context, x: Tensor, weight: Tensor, epsilon: float, dtype: torch.dtype
    ) -> Tensor:
        inputs = x.float()
        norm = torch.linalg.vector_norm(inputs, dim=-1, keepdim=True)
        scale = norm.square_().div_(inputs.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(inputs, weight, scale)
        ctx.dtype = x.dtype
        output: Tensor = (inputs * scale).mul_(weight)
        return output.to(dtype)

    @staticmethod
    def backward(ctx: _Context, *grads: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        inputs, weight, scale = ctx.saved_tensors
        grad, size, gain = grads[0].float(), inputs.shape[-1], weight.float()
        needed = [True, ctx.needs_input_grad[1], False]
        change, weight_grad, _ = torch.ops.aten.native_layer_norm_backward(
            grad, inputs, [size], torch.zeros_like(scale), scale, gain, None, needed
        )
        missing = (grad @ gain)[..., None] * scale / size  # r mean(w g)
        return change.add_(missing).to(ctx.dtype), weight_grad, None, None
