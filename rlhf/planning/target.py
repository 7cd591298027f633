"""The devices that a run sees when it is launched."""

import os
from dataclasses import replace

from rlhf.planning.case import Target
from rlhf.planning.machines import this_machine, with_measured_rates
from rlhf.runtime.distributed import SHARDING


def launch_target(num_processes: int, *, timed: bool = False) -> Target:
    """The devices of this run's processes. Processes on one CPU share its memory.

    timed: whether to measure the rates of a CPU, which takes a second or two.
    """
    machine = this_machine()
    if not machine.on_gpu:
        here = int(os.environ.get("LOCAL_WORLD_SIZE", str(num_processes)))
        machine = replace(machine, memory=machine.memory // here)
    return Target(
        machine=with_measured_rates(machine) if timed else machine,
        num_devices=num_processes,
        sharded=num_processes > 1 and any(map(_is_set, SHARDING.values())),
    )


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "false").lower() == "true"
