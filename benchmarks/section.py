"""One workload's lines, and the rates of the same minutes."""

from dataclasses import dataclass

from benchmarks.measure import Measured
from benchmarks.rates import Rates
from benchmarks.workloads import Workload


@dataclass(frozen=True, kw_only=True)
class Section:
    """What a table and its panels are made of."""

    title: str
    workload: Workload
    measured: list[Measured]
    rates: Rates

    @property
    def prompt_tokens(self) -> float:
        """Of a batch, on average."""
        return sum(self.workload.prompt_lengths) / 2 * self.workload.batch_size

    def matmul_rate(self, line: Measured) -> float:
        """Operations a second, in the precision that the line computes in."""
        return self.rates.matmul_bf16 if line.contestant.bf16 else self.rates.matmul_fp32
