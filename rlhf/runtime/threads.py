"""The number of threads of a process on a CPU."""

import os

import psutil

from rlhf.runtime.orphan import launcher

VARIABLE = "OMP_NUM_THREADS"
OPTION = "--num_cpu_threads_per_process"  # of `accelerate launch`


def choose_threads(cpu_threads: int | None, processes: int) -> None:
    """Give torch `cpu_threads`, or else the exported OMP_NUM_THREADS, or a share of the cores.

    Args:
        cpu_threads: the number of threads, if the user set one.
        processes: the number of processes of this run on this machine.
    """
    import torch

    if cpu_threads:
        torch.set_num_threads(cpu_threads)
    elif not threads_are_exported():  # torch has read an exported number
        torch.set_num_threads(max(1, _cores() // processes))


def threads_are_exported() -> bool:
    """Whether the user has set OMP_NUM_THREADS, or accelerate's option for it.

    Launchers set it to 1 if it is not set (torchrun for several processes, accelerate's own
    launcher for one), which no user asked for. The launcher's own environment shows whether it
    was set before.
    """
    value = os.environ.get(VARIABLE)
    process = launcher()
    if value is None or value != "1" or process is None:
        return value is not None
    try:
        has_option = any(word.startswith(OPTION) for word in process.cmdline())
        return has_option or VARIABLE in process.environ()
    except psutil.Error:
        return False


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
