"""Decoder layers that run compiled in training, and uncompiled otherwise."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from rlhf.errors import ConfigError

BACKEND = "inductor"


class CompiledLayers:
    """The decoder layers of transformers models, which run compiled inside `on`.

    Only layers are compiled: they do most of the work, one compilation serves all layers of a
    model, and the parts whose shapes change with every microbatch (the predicted tokens) stay
    uncompiled. Outside of `on`, in rollouts, shapes change with every token.

    Raises:
        ConfigError: the models do not declare which of their modules are layers.
    """

    def __init__(self, models: Iterable[nn.Module]) -> None:
        modules = [module for model in models for module in model.modules()]
        names = {n for m in modules for n in getattr(m, "_no_split_modules", None) or ()}
        layers = {module for module in modules if type(module).__name__ in names}
        if not layers:
            raise ConfigError(
                "compile=true found no decoder layers in this model; leave it out.",
                code="unsupported",
            )
        # dynamic: every microbatch has another shape.
        self.calls: dict[nn.Module, Callable[..., object]] = {
            layer: torch.compile(layer._call_impl, dynamic=True, backend=BACKEND)
            for layer in layers
        }

    @contextmanager
    def on(self) -> Iterator[None]:
        """Run the layers compiled. Their first calls compile them."""
        for layer, call in self.calls.items():
            layer._compiled_call_impl = call  # nn.Module.compile sets it permanently
        try:
            yield
        finally:
            for layer in self.calls:
                layer._compiled_call_impl = None


def missing_compiler() -> str:
    """The program that torch.compile needs and this machine lacks; "" where it has all."""
    if torch.accelerator.is_available():
        return "" if torch.utils._triton.has_triton() else "triton"
    compiler = os.environ.get("CXX", "g++")
    return "" if shutil.which(compiler) else f"a C++ compiler ({compiler}; CXX names another)"
