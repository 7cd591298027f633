"""TRL's GRPO on the work of ours, without vLLM. Called with JOB.json and RESULT.json."""

import os
import statistics
from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.gpu.exchange import device, iteration_result, read_job, write_result
from benchmarks.trl_groups_worker import train
from benchmarks.workloads import job_from


class Recorder:
    """Keeps what each iteration reports, and lets the next one begin at once."""

    def __init__(self) -> None:
        self.turns: list[Any] = []

    def report(self, metrics: Mapping[str, object]) -> None:
        """Take the metrics of an iteration."""
        self.turns.append(metrics)

    def wait(self) -> None:
        """Return."""


def main() -> None:
    """Train."""
    job = job_from(read_job())
    if "OMP_NUM_THREADS" in os.environ:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    recorder = Recorder()
    train(job, recorder, use_cpu=device().type == "cpu")
    turns = [turn for turn in recorder.turns if "seconds_update" in turn][1:]
    write_result(
        iteration_result(turns, statistics.median(turn["response_tokens"] for turn in turns))
    )


if __name__ == "__main__":
    main()
