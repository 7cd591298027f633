"""Frozen linear layers in 4 bits (NF4) by bitsandbytes: the base under LoRA adapters (QLoRA).

Dettmers et al. 2023 (https://arxiv.org/abs/2305.14314): 16 values at the quantiles of a normal
distribution, a scale of 8 bits for each 64 weights, a scale in float32 for each 256 of these. The
layers compute with the values that the 4 bits stand for, in bf16 or float32.
"""

import importlib
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor, nn
from transformers import PreTrainedModel

from rlhf.errors import ConfigError
from rlhf.runtime.distributed import requested_sharding

BITS = 4 + 8 / 64 + 32 / (64 * 256)  # of a weight, with its share of the scales


def check_four_bit(load_in_4bit: bool) -> None:
    """Check that a run with this value of the key can have layers of 4 bits.

    Raises:
        ConfigError: sharded weights, or bitsandbytes is not installed.
    """
    if not load_in_4bit:
        return
    if sharding := requested_sharding():
        raise ConfigError(
            f"load_in_4bit: weights of 4 bits cannot be sharded ({sharding}); leave it out, or "
            "launch with recipes/accelerate/ddp.yaml.",
            code="unsupported",
        )
    if find_spec("bitsandbytes") is None:
        raise ConfigError(
            "load_in_4bit needs bitsandbytes: pip install 'rlhf[bitsandbytes]'.",
            code="missing-package",
        )


def quantise(
    model: PreTrainedModel, *, bf16: bool, kept: Sequence[str] | None = None
) -> PreTrainedModel:
    """Store the linear layers of `model` in 4 bits, in place and on this process's device.

    The output layer, a reward head and embeddings keep their type. The layers are frozen: train
    adapters on them.

    Args:
        model: loaded whole, LoRA merged; on the CPU.
        bf16: whether the layers compute in bf16, or in float32.
        kept: ends of the names of layers that keep their type, because they are trained.

    Raises:
        ConfigError: the model has no linear layer.
    """
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    ends = ("score", *(kept or ()))
    layers = [
        (name, module)
        for name, module in model.named_modules()
        if type(module) is nn.Linear and module is not head and not name.endswith(ends)
    ]
    if not layers:
        raise ConfigError(
            f"load_in_4bit: {type(model).__name__} has no linear layers to store in 4 bits; leave "
            "it out.",
            code="unsupported",
        )
    for name, module in layers:
        _replace(model, name, _four_bit_layer(module, bf16=bf16))
    return model


def dequantise(model: nn.Module) -> None:
    """Replace layers of 4 bits in `model` by linear layers with the values that they compute with.

    They are float32, or bf16 where they were before `quantise`.
    """
    functional: Any = None
    for name, layer in list(_layers_of_four_bits(model)):
        functional = functional or importlib.import_module("bitsandbytes.functional")
        values: Tensor = functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
        linear = nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
        linear.weight = nn.Parameter(values, requires_grad=False)
        linear.bias = layer.bias
        _replace(model, name, linear)


def _four_bit_layer(linear: nn.Linear, *, bf16: bool) -> nn.Module:
    library: Any = importlib.import_module("bitsandbytes.nn")
    layer = library.Linear4bit(
        linear.in_features,
        linear.out_features,
        bias=linear.bias is not None,
        compute_dtype=torch.bfloat16 if bf16 else torch.float32,
        quant_type="nf4",
        device="meta",
    )
    layer.weight = library.Params4bit(
        linear.weight.detach(), requires_grad=False, quant_type="nf4", module=layer
    )
    layer.bias = linear.bias
    # On CPUs with bf16 units the layer would rearrange its weights at the first evaluation, with
    # scales rounded to bf16: other values than in training, and no gradient from then on.
    layer.support_avx512bf16_for_cpu = False
    placed: nn.Module = layer.to(PartialState().device)  # which quantises the weights
    return placed


def _layers_of_four_bits(model: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and hasattr(module.weight, "quant_state"):
            yield name, module


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, module)
