"""Matmul rates and memory rates of this machine, measured."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

SECONDS = 1.0  # per measurement


@dataclass(frozen=True, kw_only=True)
class Rates:
    """The best of several measurements, with the threads of the run."""

    matmul_fp32: float  # floating-point operations per second
    matmul_bf16: float
    copy: float  # bytes per second, read and written
    read: float  # bytes per second, read alone


def measure_rates(num_threads: int, *, device: str = "cpu", seconds: float = SECONDS) -> Rates:
    """The rates of this machine now."""
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    on_cpu = device == "cpu"
    size = 1024 if on_cpu else 8192

    def matmul(dtype: torch.dtype) -> float:
        left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        return 2 * size**3 / _best(lambda: left @ right, seconds)

    # 128 MiB: beyond any cache; 1 GiB on a GPU, so that its copy takes longer than to start it.
    source = torch.ones(1 << (25 if on_cpu else 28), device=device)
    target = torch.empty_like(source)
    rates = Rates(
        matmul_fp32=matmul(torch.float32),
        matmul_bf16=matmul(torch.bfloat16),
        copy=2 * source.nbytes / _best(lambda: target.copy_(source), seconds),
        read=source.nbytes / _best(source.sum, seconds),
    )
    torch.set_num_threads(before)
    return rates


def best_of(rates: list[Rates]) -> Rates:
    """The highest of each rate: noise only slows down."""
    return Rates(
        matmul_fp32=max(rate.matmul_fp32 for rate in rates),
        matmul_bf16=max(rate.matmul_bf16 for rate in rates),
        copy=max(rate.copy for rate in rates),
        read=max(rate.read for rate in rates),
    )


def _best(call: Callable[[], object], seconds: float) -> float:
    """Seconds of the fastest call after a first one. At least one is timed, however slow."""
    call()
    fastest, end = float("inf"), time.perf_counter() + seconds
    while fastest == float("inf") or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest
