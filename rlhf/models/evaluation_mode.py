"""Evaluation mode for the length of a block."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


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
