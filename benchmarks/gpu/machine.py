"""The machine, the versions, and the rates that PyTorch reaches.

Called with JOB.json and RESULT.json.
"""

from importlib.metadata import PackageNotFoundError, version

import torch

from benchmarks.gpu.exchange import device, read_job, write_result
from benchmarks.results import machine_lines
from rlhf.planning.rates import measure_rates

PACKAGES = ("accelerate", "peft", "bitsandbytes", "triton", "deepspeed")


def main() -> None:
    """Measure."""
    threads, seconds = torch.get_num_threads(), read_job()["seconds"]
    rates = measure_rates(threads, device=device().type, seconds=seconds)
    lines = machine_lines(threads, peer=f"trl {version('trl')}")
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        lines.append(f"{memory:.0f} GiB of GPU memory, CUDA {torch.version.cuda}")
    lines.append(", ".join(f"{name} {_version(name)}" for name in PACKAGES))
    write_result({**vars(rates), "lines": lines, "on_gpu": torch.cuda.is_available()})


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    main()
