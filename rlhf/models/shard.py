"""FSDP2: weights, gradients and optimizer state in shares, one on each process.

torch's `fully_shard` itself (its idea: https://arxiv.org/abs/2304.11277): it works on GPUs and
on CPU processes alike, where accelerate 1.15's plugin is left out without a word.
"""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from rlhf.errors import ConfigError

T = TypeVar("T")

# What accelerate's launcher hands on, and the one value of each that is applied here.
APPLIED = {
    "FSDP_VERSION": ("2", "fsdp_version"),
    "FSDP_OFFLOAD_PARAMS": ("false", "fsdp_offload_params"),
    "FSDP_STATE_DICT_TYPE": ("FULL_STATE_DICT", "fsdp_state_dict_type"),
    "FSDP_ACTIVATION_CHECKPOINTING": ("false", "fsdp_activation_checkpointing"),
    "FSDP_AUTO_WRAP_POLICY": ("TRANSFORMER_BASED_WRAP", "fsdp_auto_wrap_policy"),
    "FSDP_RESHARD_AFTER_FORWARD": ("true", "fsdp_reshard_after_forward"),
}


def sharding_asked_for() -> bool:
    """Whether the launch configuration asks for FSDP.

    Raises:
        ConfigError: it asks for a kind of it that would not be applied.
    """
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() != "true":
        return False
    for variable, (applied, key) in APPLIED.items():
        given = os.environ.get(variable, applied)
        if given.lower() != applied.lower():
            raise ConfigError(
                f"the launch configuration has {key}={given}, and {applied} is what is applied "
                "here; change it, as in recipes/accelerate/fsdp2.yaml."
            )
    return True


def shard(module: nn.Module, layers: Collection[str], device: torch.device) -> None:
    """Share the weights of `module` out over all processes, in place.

    Its parameters are new ones afterwards, so optimizers come later. The layers, modules whose
    class is one of these, are gathered one at a time in a forward or backward pass through
    `module` itself, which every process has to make as often as the others.
    """
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for inner in list(module.modules()):
        if type(inner).__name__ in layers:
            fully_shard(inner, mesh=mesh)
    fully_shard(module, mesh=mesh)
    # FSDP takes the module that is called first for the outermost one. In rollouts and scoring
    # inner ones are called by themselves, on weights that `whole` gathered.
    as_forward_of(module, lambda: None)()
    _reshard(_sharded(module))


def as_forward_of(module: nn.Module, function: Callable[..., T]) -> Callable[..., T]:
    """`function`, which calls parts of `module`, as one more forward pass of it.

    Where the module is sharded it gathers and shares out as in `module(...)`.
    """
    held: Any = module
    held.one_more = function
    register_fsdp_forward_method(module, "one_more")
    wrapped: Callable[..., T] = held.one_more
    del held.one_more
    return wrapped


@contextmanager
def whole(*modules: nn.Module) -> Iterator[None]:
    """With the weights of sharded modules whole on every process, for as many calls as each likes.

    Without gradients. Nothing happens to modules that are not sharded. Enter and leave it on all
    processes.
    """
    parts = [part for module in modules for part in _sharded(module)]
    roots = {id(module) for module in modules}
    inner = [part for part in parts if id(part) not in roots]
    for part in inner:
        part.set_reshard_after_forward(False, recurse=False)
    for part in parts:
        part.unshard()
    try:
        yield
    finally:
        _reshard(parts)
        for part in inner:
            part.set_reshard_after_forward(True, recurse=False)


def _sharded(module: nn.Module) -> list[FSDPModule]:
    return [part for part in module.modules() if isinstance(part, FSDPModule)]


def _reshard(parts: Sequence[FSDPModule]) -> None:
    for part in parts:
        part.reshard()


def full(tensor: Tensor) -> Tensor:
    """The tensor itself, or all of it where it is sharded, on every process."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(value: Any) -> Any:
    """`value` with every sharded tensor in it, at any depth of dicts and lists, whole on the CPU.

    On the first process; the others get empty tensors and keep their memory. Tensors that are not
    sharded stay what they are. Call it on all processes.
    """
    if isinstance(value, DTensor):
        tensor = value.full_tensor()
        return tensor.cpu() if torch.distributed.get_rank() == 0 else tensor.new_empty(0)
    if isinstance(value, dict):
        return {key: gathered(item) for key, item in value.items()}
    if isinstance(value, list):
        return [gathered(item) for item in value]
    return value


def like(tensor: Tensor, sharded: Tensor) -> Tensor:
    """`tensor`, which is whole on every process, shared out as `sharded` is, if it is."""
    if not isinstance(sharded, DTensor) or tensor.shape != sharded.shape:
        return tensor
    tensor = tensor.to(sharded.device, sharded.dtype)
    return distribute_tensor(tensor, sharded.device_mesh, sharded.placements, src_data_rank=None)


@torch.no_grad()
def put_weights(module: nn.Module, weights: dict[str, Tensor]) -> None:
    """Give the parameters that `weights` names these values, sharded or not."""
    for name, parameter in module.named_parameters():
        if name in weights:
            parameter.copy_(like(weights[name], parameter))


def put_optimizer_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """`optimizer.load_state_dict` of a state that holds whole tensors."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {
        number: {
            name: like(value, parameters[number]) if isinstance(value, Tensor) else value
            for name, value in of_parameter.items()
        }
        for number, of_parameter in state["state"].items()
    }
    optimizer.load_state_dict(state | {"state": moments})
