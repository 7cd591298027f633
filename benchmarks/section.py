"""The measured variants of one workload, and the hardware rates measured with them."""

from dataclasses import dataclass

from benchmarks.measure import Measured
from benchmarks.workloads import Workload
from rlhf.planning.rates import Rates


@dataclass(frozen=True, kw_only=True)
class Section:
    """The content of one table and of its plots."""

    title: str
    workload: Workload
    measured: list[Measured]
    rates: Rates

    @property
    def prompt_tokens(self) -> float:
        """Expected number of prompt tokens in a batch."""
        return sum(self.workload.prompt_lengths) / 2 * self.workload.batch_size

    def matmul_rate(self, line: Measured) -> float:
        """Matmul operations per second in the precision of the variant."""
        return self.rates.matmul_bf16 if line.variant.bf16 else self.rates.matmul_fp32
