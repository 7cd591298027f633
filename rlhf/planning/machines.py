"""Machines: GPUs with the peak rates of their makers' data sheets, and this CPU."""

import difflib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rlhf.errors import ConfigError
from rlhf.models.shape import GIB

if TYPE_CHECKING:
    from rlhf.planning.rates import Rates

GPUS_PER_NODE = 8
CPU = "cpu"
COUNTED = re.compile(r"(?:(\d+)x)?(.+)")
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
PCIE4 = 32e9  # bytes per second in one direction, 16 lanes: half of the 64 GB/s of both


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A GPU and its links, or a CPU. Peak rates; those of links in one direction."""

    name: str
    flops: float  # dense bf16, per second
    memory_rate: float  # bytes per second
    memory: int  # bytes
    nvlink: float = 450e9  # bytes per second of a GPU to the others of its node
    network: float = 400e9  # bytes per second of a node: eight links of 400 Gb/s
    fp32_flops: float = 67e12  # per second, without tensor cores
    on_gpu: bool = True

    def link_rate(self, num_gpus: int) -> float:
        """Bytes per second of a ring of GPUs: the links of a node, or the slower network."""
        return self.nvlink if num_gpus <= GPUS_PER_NODE else min(self.nvlink, self.network)

    def rate(self, *, bf16: bool) -> float:
        """Peak operations per second."""
        return self.flops if bf16 else self.fp32_flops


# A100: https://www.nvidia.com/en-us/data-center/a100/ (40 GB: HBM2 at 1,555 GB/s)
# H100: https://www.nvidia.com/en-us/data-center/h100/ (SXM; half of the rate with sparsity)
# H200: https://www.nvidia.com/en-us/data-center/h200/ (SXM; half of the rate with sparsity)
# L4:   https://www.nvidia.com/en-us/data-center/l4/ (half of the rate with sparsity)
# A10:  https://www.nvidia.com/en-us/data-center/products/a10-gpu/
# L40S: https://www.nvidia.com/en-us/data-center/l40s/
# RTX 4090: https://images.nvidia.com/aem-dam/Solutions/geforce/ada/nvidia-ada-gpu-architecture.pdf
#       (bf16 with float32 accumulation)
# GPUs without NVLink: PCIe 4.0 with 16 lanes.
GPUS = {
    machine.name: machine
    for machine in (
        Machine(
            name="A100-40", flops=312e12, memory_rate=1.555e12, memory=40 * GIB, nvlink=300e9,
            fp32_flops=19.5e12,
        ),
        Machine(
            name="A100-80", flops=312e12, memory_rate=2.039e12, memory=80 * GIB, nvlink=300e9,
            fp32_flops=19.5e12,
        ),
        Machine(name="H100-80", flops=989e12, memory_rate=3.35e12, memory=80 * GIB),
        Machine(name="H200-141", flops=989e12, memory_rate=4.8e12, memory=141 * GIB),
        Machine(
            name="L4-24", flops=121e12, memory_rate=300e9, memory=24 * GIB, nvlink=PCIE4,
            fp32_flops=30.3e12,
        ),
        Machine(
            name="A10-24", flops=125e12, memory_rate=600e9, memory=24 * GIB, nvlink=PCIE4,
            fp32_flops=31.2e12,
        ),
        Machine(
            name="L40S-48", flops=362e12, memory_rate=864e9, memory=48 * GIB, nvlink=PCIE4,
            fp32_flops=91.6e12,
        ),
        Machine(
            name="RTX4090-24", flops=165.2e12, memory_rate=1.008e12, memory=24 * GIB,
            nvlink=PCIE4, fp32_flops=82.6e12,
        ),
    )
}  # fmt: skip


def parse_machines(text: str) -> tuple[int, str]:
    """(2, "A100-80") of `2xA100-80`; a missing number is 1.

    Raises:
        ConfigError: no such machine, or none of it.
    """
    match = COUNTED.fullmatch(text)
    count, name = (int(match[1] or 1), match[2]) if match else (0, text)
    known = {key.lower(): key for key in [*GPUS, CPU]}
    known |= {"l4": "L4-24", "rtx-4090-24": "RTX4090-24", "4090-24": "RTX4090-24"}
    if name.lower() not in known:
        nearest = difflib.get_close_matches(name.lower(), known, n=1)
        hint = f"did you mean {known[nearest[0]]}?" if nearest else ""
        raise ConfigError(
            f"gpus={text}: there is no machine {name!r}; "
            f"{hint or 'choose from ' + ', '.join([*GPUS, CPU]) + ', as in 2xA100-80.'}",
            code="bad-value",
        )
    if count < 1:
        raise ConfigError(f"gpus={text}; use 1 or more, as in 2xA100-80.", code="bad-value")
    return count, known[name.lower()]


def this_machine() -> Machine:
    """The device that a run on this machine would use, with the memory that it has.

    Rates of a GPU that the table does not have are those of the entry nearest in memory. Those of
    a CPU are measured, which takes a second or two, by `with_measured_rates`.
    """
    import torch

    if not torch.cuda.is_available():
        return this_cpu()
    properties = torch.cuda.get_device_properties(0)
    words = properties.name.replace("GeForce ", "").replace("RTX ", "RTX").split()
    named = [gpu for gpu in GPUS.values() if gpu.name.partition("-")[0] in " ".join(words)]
    nearest = min(named or GPUS.values(), key=lambda gpu: abs(gpu.memory - properties.total_memory))
    return replace(nearest, name=properties.name, memory=properties.total_memory)


def this_cpu() -> Machine:
    """This machine's CPU, its memory, and rates of 0, which `with_measured_rates` replaces."""
    import psutil

    memory = psutil.virtual_memory().total
    if CGROUP_LIMIT.is_file() and (limit := CGROUP_LIMIT.read_text().strip()).isdigit():
        memory = min(memory, int(limit))
    # The links between processes are assumed.
    return Machine(
        name=CPU, flops=0.0, fp32_flops=0.0, memory_rate=0.0, memory=memory, nvlink=10e9,
        network=1e9, on_gpu=False,
    )  # fmt: skip


def with_measured_rates(machine: Machine) -> Machine:
    """A CPU with the rates that PyTorch reaches on it now, with the threads that it has."""
    if machine.on_gpu:
        return machine
    import torch

    from rlhf.planning.rates import measure_rates

    return with_rates(machine, measure_rates(torch.get_num_threads(), seconds=0.5))


def with_rates(machine: Machine, rates: "Rates") -> Machine:
    """The machine with measured rates."""
    return replace(
        machine,
        flops=rates.matmul_bf16,
        fp32_flops=rates.matmul_fp32,
        memory_rate=rates.copy,
    )
