"""What the processes of sections have in common: a job comes in, measurements go out."""

import json
import resource
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

PHASES = ("seconds_rollout", "seconds_score", "seconds_update")


def read_job() -> Any:
    """The job in the file that the first argument names."""
    return json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))


def write_result(values: Mapping[str, object]) -> None:
    """Write the measurements to the file that the second argument names."""
    Path(sys.argv[2]).write_text(json.dumps(values), encoding="utf-8")


def device() -> torch.device:
    """The GPU, or the CPU of a machine without one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def peak_bytes() -> int:
    """Peak of the memory that tensors had on the GPU; without one, of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def step_result(seconds: Sequence[float], tokens: float) -> dict[str, object]:
    """Median and range of the seconds of a step, its tokens, and the peak of memory."""
    return {
        "seconds": statistics.median(seconds),
        "range": [min(seconds), max(seconds)],
        "tokens": tokens,
        "peak_bytes": peak_bytes(),
    }


def iteration_result(turns: Sequence[Mapping[str, float]], tokens: float) -> dict[str, object]:
    """The result of iterations with a rollout, scores and an update, and the medians of these."""
    seconds = [sum(turn[phase] for phase in PHASES) for turn in turns]
    phases = {phase: statistics.median(turn[phase] for turn in turns) for phase in PHASES}
    return step_result(seconds, tokens) | phases
