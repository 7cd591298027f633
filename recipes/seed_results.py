"""Results of an experiment over seeds, in a file that grows: one line for each run of a seed.

    {"seed": 0, "metrics": {"KL": 3.1}, "commit": "3dea5fe", "date": "2026-11-30", "threads": 1,
     "versions": {"torch": "2.14.0"}}

A seed may have several lines, such as one for each method; of the same metric the last line counts.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, stdev

from rlhf.evaluation.stats.bootstrap import student_95
from rlhf.manifest import git_commit, package_versions, write_atomically

Metrics = dict[str, float | str]
Numbers = Mapping[str, float]
DIGITS = 6  # of the metrics in the file
VERSIONS = ("rlhf", "torch", "transformers", "trl")


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean over seeds and its 95% interval (Student's t), which has no width for one seed."""

    value: float
    low: float
    high: float
    count: int


def mean_of(values: Sequence[float]) -> Mean:
    """The mean with its interval."""
    value, count = mean(values), len(values)
    half = student_95(count) * stdev(values) / math.sqrt(count) if count > 1 else 0.0
    return Mean(value=value, low=value - half, high=value + half, count=count)


def interval(of_seeds: Mean, digits: int = 2) -> str:
    """`0.90 [0.85, 0.95]`; without an interval for one seed."""
    numbers = (of_seeds.value, of_seeds.low, of_seeds.high)
    value, low, high = (f"{number:z.{digits}f}" for number in numbers)  # z: no -0.00
    return value if of_seeds.count == 1 else f"{value} [{low}, {high}]"


def read_seeds(path: Path) -> dict[int, Metrics]:
    """The metrics of each seed in the file, in the order of seeds; empty without a file."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found: dict[int, Metrics] = {}
    for line in map(json.loads, lines):
        found.setdefault(line["seed"], {}).update(line["metrics"])
    return dict(sorted(found.items()))


def read_numbers(path: Path) -> dict[int, Numbers]:
    """`numbers_of` each seed in the file."""
    return {seed: numbers_of(metrics) for seed, metrics in read_seeds(path).items()}


def numbers_of(metrics: Metrics) -> Numbers:
    """The metrics without words, such as the verdict of a gate."""
    return {name: value for name, value in metrics.items() if not isinstance(value, str)}


def add_seed(
    path: Path, seed: int, metrics: Mapping[str, float | str], *, threads: int | None
) -> None:
    """Add a line of the seed to the file.

    Args:
        path: the file; a new one is created.
        seed: of the run.
        metrics: rounded to 6 digits.
        threads: of each training, on which floating-point results depend; None if not known.
    """
    versions = package_versions()
    line = {
        "seed": seed,
        "metrics": {name: _rounded(value) for name, value in metrics.items()},
        "commit": git_commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "threads": threads,
        "versions": {name: versions[name] for name in VERSIONS if name in versions},
    }
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    write_atomically(path, before + json.dumps(line, ensure_ascii=False) + "\n")


def _rounded(value: float | str) -> float | str:
    return value if isinstance(value, str) else float(f"{value:.{DIGITS}g}")
