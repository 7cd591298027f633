"""Copies of weights in autocast's type that are kept over several forward passes."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


def kept_casts(device: torch.device) -> torch.autocast:
    """Keep the bf16 copies of the weights over all autocast blocks inside this one.

    Autocast deletes them at the end of its outermost block. Leave this block before the weights
    change.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=False)


@contextmanager
def weights_in(model: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Let `model` compute with copies of its floating-point weights in `dtype` inside `with`.

    For calls without gradient that autocast does not reach, such as those of another thread. A
    weight that has this type is not copied. The parameters are replaced and put back. Converting
    `parameter.data` in place instead would detach the hooks by which DDP sums gradients.
    """
    places = [
        (module, name, parameter)
        for module in model.modules()
        for name, parameter in module.named_parameters(recurse=False)
        if parameter.is_floating_point() and parameter.dtype != dtype
    ]
    copies: dict[int, nn.Parameter] = {}  # a weight in two places stays one
    try:
        for module, name, parameter in places:
            if id(parameter) not in copies:
                copies[id(parameter)] = nn.Parameter(parameter.detach().to(dtype), False)
            setattr(module, name, copies[id(parameter)])
        yield
    finally:
        for module, name, parameter in places:
            setattr(module, name, parameter)
