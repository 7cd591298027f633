"""How many threads a process computes with on a CPU."""

import os

import psutil

from rlhf.runtime.orphan import launcher

VARIABLE = "OMP_NUM_THREADS"
OPTION = "--num_cpu_threads_per_process"  # of `accelerate launch`


def choose_threads(cpu_threads: int | None, processes: int) -> None:
    """Give torch `cpu_threads`, else what OMP_NUM_THREADS says, else its share of the cores.

    processes: of this run on this machine.
    """
    import torch

    if cpu_threads:
        torch.set_num_threads(cpu_threads)
    elif not threads_are_exported():  # what is exported torch has read
        torch.set_num_threads(max(1, _cores() // processes))


def threads_are_exported() -> bool:
    """Whether the user has set OMP_NUM_THREADS, or accelerate's option for it.

    Launchers set 1 where nothing is set (torchrun for several processes, accelerate's own for
    one), which nobody asked for. The environment that a launcher was started with tells.
    """
    value = os.environ.get(VARIABLE)
    above = launcher()
    if value is None or value != "1" or above is None:
        return value is not None
    try:
        asked = any(word.startswith(OPTION) for word in above.cmdline())
        return asked or VARIABLE in above.environ()
    except psutil.Error:
        return False


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
