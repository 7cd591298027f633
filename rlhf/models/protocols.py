"""What this package relies on of a model of transformers or peft, as types.

transformers' and peft's own classes match these protocols; so does any other module with the same
few members.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig


class LogitsOutput(Protocol):
    """Output of a language model."""

    logits: Tensor


class StatesOutput(Protocol):
    """Output of a model without an output layer."""

    last_hidden_state: Tensor


class Trunk(Protocol):
    """A decoder without its output layer."""

    def __call__(self, *args: object, **kwargs: object) -> StatesOutput:
        """Hidden states of `input_ids`; keywords as those of transformers."""


class CausalLM(Protocol):
    """A causal language model: `PreTrainedModel` or `PeftModel`."""

    training: bool

    @property
    def config(self) -> PretrainedConfig:
        """transformers' configuration."""

    @property
    def device(self) -> torch.device:
        """Where its weights are."""

    def __call__(self, *args: object, **kwargs: object) -> LogitsOutput:
        """Logits of `input_ids`; keywords as those of transformers."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """All weights."""

    def modules(self) -> Iterator[nn.Module]:
        """All modules in it, itself included."""

    def get_input_embeddings(self) -> nn.Module:
        """The token embedding."""

    def get_output_embeddings(self) -> nn.Linear:
        """The output layer; with LoRA on it peft's layer, which has the same members."""

    def train(self, mode: bool = True) -> object:
        """Switch to training mode, or back."""

    def eval(self) -> object:
        """Switch to evaluation mode."""


class HasMode(Protocol):
    """A module, or what wraps one."""

    training: bool

    def eval(self) -> object: ...
    def train(self, mode: bool = True) -> object: ...


@contextmanager
def evaluation_mode(module: HasMode) -> Iterator[None]:
    """No dropout and no gradient checkpointing; then the former mode, also after an error."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
