"""The processes of a run: ranks, process groups, and checks of the launch configuration."""

import logging
import os
import sys
from collections.abc import Callable
from typing import Literal, TypeVar

from rlhf.errors import STATUS_DONE, ConfigError, RLHFError, status_of
from rlhf.runtime.malloc import keep_freed_memory
from rlhf.runtime.orphan import end_with_launcher
from rlhf.runtime.threads import choose_threads

# Environment variables that accelerate's launcher sets if its configuration asks for sharding.
SHARDING = {"FSDP": "ACCELERATE_USE_FSDP", "DeepSpeed": "ACCELERATE_USE_DEEPSPEED"}
T = TypeVar("T")
Sharding = Literal["none", "fsdp", "fsdp_or_deepspeed"]
"""What a recipe can shard its models with. It applies FSDP itself, accelerate applies DeepSpeed."""
WORLD = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # set by a launcher for its workers


def is_main_process() -> bool:
    """Whether this is rank 0 of its run; works before the process group exists."""
    return os.environ.get("RANK", "0") == "0"


def requested_sharding() -> str | None:
    """`FSDP` or `DeepSpeed`, if the launch configuration asks for it."""
    for name, variable in SHARDING.items():
        if os.environ.get(variable, "false").lower() == "true":
            return name
    return None


def is_silenced(level: int = logging.INFO) -> bool:
    """Whether `logging.getLogger("rlhf").setLevel(…)` has switched off output of this level."""
    return logging.getLogger("rlhf").level > level


def print_once(*lines: object) -> None:
    """Print each argument on its own line, on the main process, unbuffered.

    A level of the logger `rlhf` above INFO switches it off, one above WARNING also lines that begin
    with "warning".
    """
    if is_main_process():
        for line in lines:
            is_warning = str(line).startswith("warning")
            if not is_silenced(logging.WARNING if is_warning else logging.INFO):
                print(line, flush=True)


def on_main_process(action: Callable[[], object]) -> None:
    """Call `action` on the main process while the others wait. Call this on every process.

    If it raises an `RLHFError`, the others exit with its status; left waiting, they would report
    a lost connection.
    """
    from accelerate.utils import broadcast_object_list

    error: RLHFError | None = None
    if is_main_process():
        try:
            action()
        except RLHFError as raised:
            error = raised
    [status] = broadcast_object_list([status_of(error)])
    if error is not None:
        raise error
    if status != STATUS_DONE:
        sys.exit(status)


def gathered(items: list[T]) -> list[T]:
    """The items of all processes, those of the first one first. Call this on every process."""
    from accelerate import PartialState
    from accelerate.utils import gather_object

    return gather_object(items) if PartialState().num_processes > 1 else items


def start_processes(cpu_threads: int | None = None, *, sharding: Sharding = "none") -> int:
    """The number of processes of this run, once they form one process group.

    Call it before any `Accelerator`. On a machine without an accelerator it chooses the CPU, which
    accelerate does not do by default: without it, each of two processes takes itself for the only
    one, and they overwrite each other's files. From here on the process ends with its launcher.

    Args:
        cpu_threads: threads of this process on a CPU; None takes an exported OMP_NUM_THREADS, or
            an equal share of the cores (`accelerate launch` alone gives every process one).
        sharding: what the recipe can shard its models with, if the launch configuration asks for
            it.

    Raises:
        ConfigError: fewer processes started than requested, or they do not form one world, or
            there are fewer GPUs than processes, or the launch configuration asks for sharding or a
            precision that nothing would apply.
        TrainingError: the launcher is gone already.
    """
    import torch
    from accelerate import PartialState

    from rlhf.runtime.hang_watchdog import watch

    end_with_launcher()
    on_cpu = not torch.accelerator.is_available()
    deepspeed_on_cpu = uses_deepspeed_on_cpu()
    if on_cpu:
        if not deepspeed_on_cpu:
            os.environ["ACCELERATE_USE_CPU"] = "true"
        choose_threads(cpu_threads, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        keep_freed_memory()
    # accelerate's launcher for one process sets MASTER_ADDR if several were requested
    # (`--cpu --num_processes 2`, `distributed_type: NO`), starts one, and prints no warning.
    if "WORLD_SIZE" not in os.environ and "MASTER_ADDR" in os.environ:
        raise ConfigError(
            "accelerate was asked for several processes and started one; leave --cpu out and "
            "launch with --config_file accelerate_config.yaml --num_processes N.",
            code="bad-launch",
        )
    _check_precision()
    _check_sharding(sharding, on_cpu=on_cpu)
    if on_cpu:
        _leave_a_world_of_one()
    else:
        _check_gpus()
    expected = int(os.environ.get("WORLD_SIZE", "1"))
    state = PartialState(backend="gloo") if deepspeed_on_cpu else PartialState(cpu=on_cpu)
    actual: int = state.num_processes
    if actual != expected:
        raise ConfigError(
            f"{expected} processes were started but accelerate sees {actual}: each would train "
            "alone and overwrite the others' files; launch with accelerate_config.yaml.",
            code="bad-launch",
        )
    if actual > 1:
        watch(PartialState().process_index, actual)  # from here on, a hanging process ends the run
    return actual


def uses_deepspeed_on_cpu() -> bool:
    """Whether DeepSpeed shards models on a machine without a GPU: DS_ACCELERATOR=cpu."""
    import torch

    requested = requested_sharding() == "DeepSpeed" and os.environ.get("DS_ACCELERATOR") == "cpu"
    return requested and not torch.accelerator.is_available()


def _check_precision() -> None:
    """Reject mixed precision in the launch configuration: the recipes have their own key."""
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if precision != "no":
        raise ConfigError(
            f"the launch configuration has mixed_precision={precision}, but the recipe's `bf16` "
            "option sets the precision; set mixed_precision: 'no' there and bf16: true here.",
            code="bad-launch",
        )


def _check_sharding(sharding: Sharding, *, on_cpu: bool) -> None:
    """Reject FSDP or DeepSpeed that the launch configuration asks for and nothing applies."""
    name = requested_sharding()
    if name is None:
        return
    if sharding == "none" or (sharding == "fsdp" and name == "DeepSpeed"):
        raise ConfigError(
            f"the launch configuration asks for {name}, which this recipe does not apply: "
            "every process would hold whole models; launch with accelerate_config.yaml.",
            code="bad-launch",
        )
    if on_cpu and name == "DeepSpeed" and not uses_deepspeed_on_cpu():
        raise ConfigError(
            f"the launch configuration asks for {name}, which accelerate silently ignores "
            "without a GPU: every process would hold whole models; launch with "
            "accelerate_config.yaml, or set DS_ACCELERATOR=cpu to try it on a CPU.",
            code="bad-launch",
        )


def _check_gpus() -> None:
    """Reject several processes on one GPU: NCCL would end them at their first exchange.

    A process that sees one GPU, its own, has to be number 0: accelerate's device is
    LOCAL_RANK % visible GPUs, but its barriers and DDP take the GPU with the number LOCAL_RANK.
    Whether processes with one GPU each see the same one is not known before they meet.
    """
    import torch

    if not torch.cuda.is_available():  # another accelerator has its own library
        return
    gpus = torch.cuda.device_count()
    numbered = 1 + int(os.environ.get("LOCAL_RANK", "0"))
    here = max(int(os.environ.get("LOCAL_WORLD_SIZE", "1")), numbered)
    if here > gpus:
        raise ConfigError(
            f"{here} processes were started on a machine with {gpus} visible GPU(s), and NCCL "
            f"needs one for each; start {gpus} there (on a single machine: --num_processes {gpus})"
            ", or let each process see all GPUs (Slurm: --gpus-per-node in place of "
            "--gpus-per-task). If each sees one of its own, set LOCAL_RANK=0 and "
            "LOCAL_WORLD_SIZE=1 for all of them.",
            code="bad-launch",
        )


def _leave_a_world_of_one() -> None:
    """Make a process that was launched alone look as if it had no launcher.

    accelerate would create a group of one and wrap its models in DDP, which copies each gradient
    for no use. Sharding needs the group. Only called on a CPU; it is untested with a GPU.
    """
    if os.environ.get("WORLD_SIZE") == "1" and requested_sharding() is None:
        for name in (*WORLD, "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
            os.environ.pop(name, None)
