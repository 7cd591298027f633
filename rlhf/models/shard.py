"""FSDP2: weights, gradients and optimizer state in shards, one on each process.

It uses torch's `fully_shard` (https://arxiv.org/abs/2304.11277), which works on GPUs and on CPU
processes, where accelerate 1.15's plugin is silently left out.
"""

import copy
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
M = TypeVar("M", bound=nn.Module)

# The settings of accelerate's launcher, and the value of each that is supported here.
SUPPORTED = {
    "FSDP_VERSION": ("2", "fsdp_version"),
    "FSDP_OFFLOAD_PARAMS": ("false", "fsdp_offload_params"),
    "FSDP_STATE_DICT_TYPE": ("FULL_STATE_DICT", "fsdp_state_dict_type"),
    "FSDP_ACTIVATION_CHECKPOINTING": ("false", "fsdp_activation_checkpointing"),
    "FSDP_AUTO_WRAP_POLICY": ("TRANSFORMER_BASED_WRAP", "fsdp_auto_wrap_policy"),
    "FSDP_RESHARD_AFTER_FORWARD": ("true", "fsdp_reshard_after_forward"),
}


def sharding_requested() -> bool:
    """Whether the launch configuration asks for FSDP.

    Raises:
        ConfigError: it has a setting of FSDP that is not supported.
    """
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() != "true":
        return False
    for variable, (supported, key) in SUPPORTED.items():
        value = os.environ.get(variable, supported)
        if value.lower() != supported.lower():
            raise ConfigError(
                f"the launch configuration has {key}={value}, but only {supported} is supported; "
                "change it, as in recipes/accelerate/fsdp2.yaml.",
                code="bad-launch",
            )
    return True


def shard(module: nn.Module, layers: Collection[str], device: torch.device) -> None:
    """Shard the weights of `module` over all processes, in place.

    Its parameters are replaced, so create optimizers afterwards. Modules whose class name is in
    `layers` are gathered one at a time in a forward or backward pass through `module` itself. All
    processes have to make the same number of passes.
    """
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for inner in list(module.modules()):
        if type(inner).__name__ in layers:
            fully_shard(inner, mesh=mesh)
    fully_shard(module, mesh=mesh)
    # FSDP takes the module that is called first as the outermost one. In rollouts and scoring,
    # inner modules are called directly, on weights that `whole` gathered.
    as_forward_of(module, lambda: None)()
    _reshard(_sharded(module))


def as_forward_of(module: nn.Module, function: Callable[..., T]) -> Callable[..., T]:
    """`function`, which calls parts of `module`, as another forward pass of it.

    A sharded module gathers and reshards as in `module(...)`.
    """
    name = "_registered_forward"
    setattr(module, name, function)
    register_fsdp_forward_method(module, name)
    wrapped: Callable[..., T] = getattr(module, name)
    delattr(module, name)
    return wrapped


@contextmanager
def whole(*modules: nn.Module) -> Iterator[None]:
    """Gather the weights of sharded modules on every process, for calls inside `with`.

    For calls without gradients. Modules that are not sharded are left unchanged. Enter and leave it
    on all processes.
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
    """The full tensor, gathered on every process if it is sharded."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(value: object) -> Any:
    """`value` with all sharded tensors in its dicts and lists gathered on the first process's CPU.

    The other processes get empty tensors, to save memory. Tensors that are not sharded are left
    unchanged. Call it on all processes.
    """
    if isinstance(value, DTensor):
        tensor = value.full_tensor()
        return tensor.cpu() if torch.distributed.get_rank() == 0 else tensor.new_empty(0)
    if isinstance(value, dict):
        return {key: gathered(item) for key, item in value.items()}
    if isinstance(value, list):
        return [gathered(item) for item in value]
    return value


def whole_weights(module: nn.Module) -> dict[str, Tensor]:
    """All weights of a sharded module by name, whole on the first process's CPU.

    Call it on all processes; see `gathered`.
    """
    _reshard(_sharded(module))  # an evaluation leaves the outermost part gathered
    named = module.state_dict(keep_vars=True)  # tied weights are one object then
    tensors = {id(tensor): gathered(tensor.detach()) for tensor in named.values()}
    return {name: tensors[id(tensor)] for name, tensor in named.items()}


def without_weights(module: M) -> M:
    """A copy of `module` whose parameters are on torch's meta device, for `fill`."""
    empty = {
        id(parameter): nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)
        for parameter in module.parameters()
    }
    return copy.deepcopy(module, empty)


def copy_of(module: M) -> M:
    """A frozen copy of a module with whole weights; adapters that are disabled stay disabled."""
    copied = without_weights(module)
    _assign(copied, dict(module.named_parameters(remove_duplicate=False)), torch.clone)
    copied.requires_grad_(False)
    return copied


def fill(empty: nn.Module, sharded: nn.Module) -> None:
    """Give a copy `without_weights` the whole weights of `sharded`, on every process.

    Call it on all processes.
    """
    _assign(empty, dict(sharded.named_parameters(remove_duplicate=False)), full)


def _assign(
    empty: nn.Module, named: dict[str, nn.Parameter], made_of: Callable[[Tensor], Tensor]
) -> None:
    """Give `empty` what `made_of` makes of these parameters; tied ones stay one."""
    made = {id(p): nn.Parameter(made_of(p.detach()), p.requires_grad) for p in named.values()}
    empty.load_state_dict(
        {name: made[id(parameter)] for name, parameter in named.items()}, strict=False, assign=True
    )


def like(tensor: Tensor, sharded: Tensor) -> Tensor:
    """`tensor`, which is complete on every process, sharded as `sharded` is, if it is."""
    if not isinstance(sharded, DTensor) or tensor.shape != sharded.shape:
        return tensor
    tensor = tensor.to(sharded.device, sharded.dtype)
    return distribute_tensor(tensor, sharded.device_mesh, sharded.placements, src_data_rank=None)


@torch.no_grad()
def put_weights(module: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy `weights` into the parameters of these names, sharded or not."""
    for name, parameter in module.named_parameters():
        if name in weights:
            parameter.copy_(like(weights[name], parameter))


def put_optimizer_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a state of complete tensors into an optimizer, sharded or not."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {
        number: {
            name: like(value, parameters[number]) if isinstance(value, Tensor) else value
            for name, value in of_parameter.items()
        }
        for number, of_parameter in state["state"].items()
    }
    optimizer.load_state_dict(state | {"state": moments})
