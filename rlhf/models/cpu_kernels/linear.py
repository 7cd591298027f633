"""float32 matrix products with oneDNN on a CPU."""

from functools import cache
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

CPUINFO = Path("/proc/cpuinfo")
SMALLEST = 1 << 15  # weights of a layer; below it the call costs more than the product


def use_fast_cpu_linear(model: nn.Module) -> None:
    """Compute the float32 products of `model`'s linear layers with oneDNN on a CPU.

    PyTorch uses MKL for float32. On processors of other makers than Intel its kernels reach less
    than half of oneDNN's speed (90 to 100 against 180 to 230 GFLOP/s on one core of an AMD EPYC at
    [1024, 384] x [384, 1024], torch 2.13). On Intel's processors MKL is kept: including the
    backward pass it is a quarter faster. bf16 uses oneDNN anyway. The sums are the same in another
    order; a GPU is not affected.
    """
    if not torch.backends.mkldnn.is_available() or mkl_is_fast():  # type: ignore[no-untyped-call]
        return
    for module in model.modules():
        if type(module) is not nn.Linear or module.weight.device.type != "cpu":
            continue
        if module.weight.numel() >= SMALLEST:
            module.__class__ = FastLinear


@cache
def mkl_is_fast() -> bool:
    """Whether PyTorch has MKL and the processor is Intel's, for which its kernels are written.

    Decided by the maker's name, not by a measurement: a resumed run has to compute as before.
    """
    if not torch.backends.mkl.is_available() or not CPUINFO.is_file():  # type: ignore[no-untyped-call]
        return False
    return "GenuineIntel" in CPUINFO.read_text(encoding="utf-8", errors="replace")


def hold_in_bf16(model: nn.Module) -> None:
    """Convert the linear layers of a frozen `model` to bf16, as autocast would.

    For a model that is only called under bf16 autocast: the same results with half the memory and
    without casts at each call. Weights that an embedding shares, trained weights (an adapter's) and
    weights of 4 bits are not converted. Those that stay float32 are copied, so that the file that
    transformers maps weights from can be closed.
    """
    frozen = [p for p in model.parameters() if not p.requires_grad and p.is_floating_point()]
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    linear = {id(m.weight) for m in model.modules() if isinstance(m, nn.Linear)}
    for parameter in frozen:
        half = id(parameter) in linear - embeddings
        parameter.data = parameter.data.bfloat16() if half else parameter.data.clone()


class FastLinear(nn.Linear):
    """`nn.Linear` with oneDNN for float32; inputs of other types use `nn.Linear`."""

    def forward(self, input: Tensor) -> Tensor:
        """As in `nn.Linear`."""
        if not _is_fast(input, self.weight):
            return super().forward(input)
        if not torch.is_grad_enabled():
            return _product(input, self.weight, self.bias)
        return _Product.apply(input, self.weight, self.bias)  # type: ignore[no-untyped-call, no-any-return]


def fast_linear(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`torch.nn.functional.linear` as a `FastLinear` computes it, without a gradient."""
    if _is_fast(inputs, weight):
        return _product(inputs, weight, bias)
    return functional.linear(inputs, weight, bias)


def _is_fast(inputs: Tensor, weight: Tensor) -> bool:
    """Whether a product is computed in float32 on a CPU."""
    is_float = inputs.dtype == weight.dtype == torch.float32
    return is_float and inputs.device.type == "cpu" and not torch.is_autocast_enabled("cpu")


class _Context(Protocol):
    """What the autograd function here uses of its context."""

    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]
    has_bias: bool

    def save_for_backward(self, *tensors: Tensor) -> None: ...


class _Product(torch.autograd.Function):
    """y = x Wᵀ + b with x [..., in], W [out, in], b [out] or None."""

    @staticmethod
    def forward(ctx: _Context, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.has_bias = bias is not None
        return _product(inputs, weight, bias)

    @staticmethod
    def backward(ctx: _Context, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        inputs, weight = ctx.saved_tensors
        wants_inputs, wants_weight, _ = ctx.needs_input_grad
        rows = grad.flatten(0, -2)
        return (
            _product(grad, weight.T) if wants_inputs else None,
            _product(rows.T, inputs.flatten(0, -2).T) if wants_weight else None,
            rows.sum(0) if ctx.has_bias else None,
        )


def _product(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if torch.compiler.is_compiling():
        return _opaque_product(inputs, weight, bias)  # type: ignore[no-any-return]
    linear = torch.ops.mkldnn._linear_pointwise
    return linear(inputs, weight, bias, "none", [], "")  # type: ignore[no-any-return]


# torch.compile's own form of the operator needs packed weights, but these change. An opaque
# operator is called unchanged.
@torch.library.custom_op("rlhf::product", mutates_args=())
def _opaque_product(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return _product(inputs, weight, bias)


@_opaque_product.register_fake
def _shape_of_product(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return inputs.new_empty((*inputs.shape[:-1], weight.shape[0]))
