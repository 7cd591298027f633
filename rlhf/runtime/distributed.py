"""The processes of a run: which is the first, that they see each other, what launch asked for."""

import os
import sys
from collections.abc import Callable
from typing import Literal

from rlhf.errors import STATUS_DONE, ConfigError, RLHFError, status_of
from rlhf.runtime.malloc import keep_freed_memory
from rlhf.runtime.orphan import end_with_launcher
from rlhf.runtime.threads import choose_threads

# What accelerate's launcher puts into the environment where a configuration asks for them.
SHARDING = {"FSDP": "ACCELERATE_USE_FSDP", "DeepSpeed": "ACCELERATE_USE_DEEPSPEED"}
Sharding = Literal["none", "accelerate", "own"]
"""Who applies FSDP or DeepSpeed to a recipe's models: nobody, accelerate, or (FSDP) the recipe."""
WORLD = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what a launcher tells its workers


def is_main_process() -> bool:
    """Whether this is rank 0 of its run; known before the processes see each other."""
    return os.environ.get("RANK", "0") == "0"


def print_once(*lines: object) -> None:
    """Print each on a line of its own, on the main process, at once."""
    if is_main_process():
        for line in lines:
            print(line, flush=True)


def on_main_process(do: Callable[[], object]) -> None:
    """Call `do` on the main process; the others wait until it is done. Call it on all of them.

    Where it raises an `RLHFError` the others exit with its status: left waiting, they would
    report a lost connection.
    """
    from accelerate.utils import broadcast_object_list

    error: RLHFError | None = None
    if is_main_process():
        try:
            do()
        except RLHFError as raised:
            error = raised
    [status] = broadcast_object_list([status_of(error)])
    if error is not None:
        raise error
    if status != STATUS_DONE:
        sys.exit(status)


def start_processes(cpu_threads: int | None = None, *, sharding: Sharding = "none") -> int:
    """The number of processes of this run, after making sure that they see each other.

    Call it before any `Accelerator`. Where there is no accelerator it chooses the CPU, which
    accelerate does not do by itself: without it two processes each believe they are alone and
    write over each other. From here on the process ends when its launcher does.

    Args:
        cpu_threads: threads of this process on a CPU; None takes an exported OMP_NUM_THREADS, or
            shares the cores out evenly (`accelerate launch` alone would leave every process one).
        sharding: who applies FSDP or DeepSpeed, where the launch configuration asks for it.

    Raises:
        ConfigError: more processes were asked for than were started, or they do not form
            one world, or what the launch configuration asks for (sharding, another precision)
            is what nobody would do.
        TrainingError: the launcher has gone already.
    """
    import torch
    from accelerate import PartialState

    from rlhf.runtime.hang_watchdog import watch

    end_with_launcher()
    on_cpu = not torch.accelerator.is_available()
    if on_cpu:
        os.environ["ACCELERATE_USE_CPU"] = "true"
        choose_threads(cpu_threads, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        keep_freed_memory()
    # accelerate's launcher for one process sets MASTER_ADDR when it was asked for several
    # (`--cpu --num_processes 2`, `distributed_type: NO`), starts one, and says nothing.
    if "WORLD_SIZE" not in os.environ and "MASTER_ADDR" in os.environ:
        raise ConfigError(
            "accelerate was asked for several processes and started one; leave --cpu out and "
            "launch with --config_file accelerate_config.yaml --num_processes N."
        )
    _check_precision()
    _check_sharding(sharding, on_cpu=on_cpu)
    if on_cpu:
        _leave_a_world_of_one()
    expected = int(os.environ.get("WORLD_SIZE", "1"))
    actual: int = PartialState(cpu=on_cpu).num_processes
    if actual != expected:
        raise ConfigError(
            f"{expected} processes were started but accelerate sees {actual}: each would train "
            "alone and write over the others; launch with accelerate_config.yaml."
        )
    if actual > 1:
        watch(PartialState().process_index, actual)  # from here on one that hangs ends them all
    return actual


def _check_precision() -> None:
    """Refuse mixed precision of the launch configuration: the recipes have a key of their own."""
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if asked != "no":
        raise ConfigError(
            f"the launch configuration has mixed_precision={asked}, and what a recipe computes in "
            "its own key bf16 says; set mixed_precision: 'no' there and bf16: true here."
        )


def _check_sharding(sharding: Sharding, *, on_cpu: bool) -> None:
    """Refuse FSDP or DeepSpeed that the launch configuration asks for and nobody applies."""
    for name, variable in SHARDING.items():
        if os.environ.get(variable, "false").lower() != "true":
            continue
        if sharding == "none" or (sharding == "own" and name == "DeepSpeed"):
            raise ConfigError(
                f"the launch configuration asks for {name}, which this recipe does not apply: "
                "every process would hold whole models; launch with accelerate_config.yaml."
            )
        if on_cpu and sharding == "accelerate":
            raise ConfigError(
                f"the launch configuration asks for {name}, which accelerate leaves out without a "
                "word where there is no GPU: every process would hold whole models; launch with "
                "accelerate_config.yaml."
            )


def _leave_a_world_of_one() -> None:
    """Let a process that was launched alone be one that nobody launched.

    accelerate would make a group of it and wrap its models in DDP, which copies each gradient for
    nobody. Shards need the group. Only called on a CPU: with a GPU it was not tried.
    """
    sharded = any(os.environ.get(name, "false").lower() == "true" for name in SHARDING.values())
    if os.environ.get("WORLD_SIZE") == "1" and not sharded:
        for name in (*WORLD, "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
            os.environ.pop(name, None)
