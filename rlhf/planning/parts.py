"""Memory by phase and part."""

from collections.abc import Mapping
from dataclasses import dataclass

Parts = dict[str, float]
"""Bytes by what they hold."""

# On a CPU: 0.4 to 0.5 GB of interpreter and libraries, and pieces of the heap that stay free. On a
# GPU: CUDA context and libraries.
PROGRAM_ON_CPU, PROGRAM_ON_GPU = 0.62e9, 0.5e9


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on a device."""

    program: float
    held_parts: Parts  # in every phase
    phases: Mapping[str, Parts]  # what a phase adds at its peak

    @property
    def held(self) -> float:
        """Weights, moments and frozen models."""
        return sum(self.held_parts.values())

    def total(self, phase: str) -> float:
        """The peak of a phase."""
        return self.program + self.held + sum(self.phases[phase].values())

    @property
    def peak(self) -> float:
        """The largest of the phases."""
        return max(map(self.total, self.phases))

    @property
    def peak_phase(self) -> str:
        """The phase with the peak."""
        return max(self.phases, key=self.total)


def largest(*moments: Parts) -> Parts:
    """The moment of a phase with the most bytes."""
    return max(moments, key=lambda parts: sum(parts.values()))


def program_bytes(*, on_gpu: bool) -> float:
    """Bytes of a process that has not loaded a model."""
    return PROGRAM_ON_GPU if on_gpu else PROGRAM_ON_CPU
