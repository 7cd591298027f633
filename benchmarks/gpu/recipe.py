"""A recipe, from its keys to the folder that it saves, and the speed in its metrics.

Called with JOB.json and RESULT.json.
"""

import rlhf  # noqa: F401, I001  # before torch: it sets the policy of waiting threads

import runpy
import statistics
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.gpu.exchange import iteration_result, read_job, step_result, write_result

ROOT = Path(__file__).parents[2]
Line = dict[str, float]


def main() -> None:
    """Run the recipe in this process."""
    job, arguments = read_job(), sys.argv
    script = ROOT / "recipes" / f"{job['recipe']}.py"
    sys.argv = [str(script), *job["words"]]
    runpy.run_path(str(script))["main"]()
    sys.argv = arguments
    from rlhf.training.common.metrics import read_metrics

    write_result(result_of(read_metrics(Path(job["run"])), job))  # type: ignore[arg-type]


def result_of(lines: Sequence[Line], job: Any) -> dict[str, object]:
    """Seconds and tokens of a step, from the lines of metrics.jsonl; the first is not counted."""
    iterations = [line for line in lines if "seconds_update" in line][1:]
    if iterations:
        length = statistics.median(line["response_length"] for line in iterations)
        return iteration_result(iterations, length * job["responses"])
    times = [line["time"] for line in lines if "loss" in line]
    return step_result([after - before for before, after in pairwise(times)], job["tokens"])


if __name__ == "__main__":
    main()
