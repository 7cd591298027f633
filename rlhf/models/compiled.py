"""Decoder layers compiled for training, and left as they are for everything else."""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from rlhf.errors import ConfigError

BACKEND = "inductor"


class CompiledLayers:
    """The decoder layers of some models of transformers, which run compiled while `on` is open.

    Layers alone: they are where the work is, one compilation serves all of a model, and what
    changes its form with every microbatch (which tokens are predicted) stays outside. Outside of
    `on`, in rollouts, where shapes change with every token, they are what they were.

    Raises:
        ConfigError: the models do not say which of their modules are layers.
    """

    def __init__(self, models: Iterable[nn.Module]) -> None:
        modules = [module for model in models for module in model.modules()]
        names = {n for m in modules for n in getattr(m, "_no_split_modules", None) or ()}
        layers = {module for module in modules if type(module).__name__ in names}
        if not layers:
            raise ConfigError("compile=true found no decoder layers in this model; leave it out.")
        # dynamic: every microbatch has a shape of its own.
        self.calls: dict[Any, Any] = {
            layer: torch.compile(layer._call_impl, dynamic=True, backend=BACKEND)
            for layer in layers
        }

    @contextmanager
    def on(self) -> Iterator[None]:
        """With the layers compiled, at their first calls: that takes a minute or more."""
        for layer, call in self.calls.items():
            layer._compiled_call_impl = call  # where nn.Module.compile puts it, for good
        try:
            yield
        finally:
            for layer in self.calls:
                layer._compiled_call_impl = None


def missing_compiler() -> str:
    """What torch.compile needs on this machine and does not find, in words; or ""."""
    if torch.accelerator.is_available():
        found = torch.utils._triton.has_triton()
        return "" if found else "triton"
    compiler = os.environ.get("CXX", "g++")
    return "" if shutil.which(compiler) else f"a C++ compiler ({compiler}; CXX names another)"
