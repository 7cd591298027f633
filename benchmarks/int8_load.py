"""Seconds to load a policy for chat, plain and with --int8, each in a process of its own.

python -m benchmarks.int8_load --model DIR --runs 3
"""

import argparse
import statistics
import subprocess
import sys
from collections.abc import Sequence

# The imports before come in both cases, and take longer than loading a small model.
LOAD = """
import sys, time
from rlhf.chat.loading import load_chat_model
from transformers import AutoModelForCausalLM
start = time.perf_counter()
load_chat_model(sys.argv[1], int8=sys.argv[2] == "int8")
print(time.perf_counter() - start)
"""
KINDS = ("plain", "int8")


def seconds(model: str, kind: str) -> float:
    """Wall seconds of one load in a new process."""
    command = [sys.executable, "-c", LOAD, model, kind]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def measure(model: str, runs: int) -> dict[str, list[float]]:
    """Seconds of each run by kind; the kinds take turns, so that a slow minute hits both."""
    seconds(model, KINDS[0])  # reads the files into the cache of the disk
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(runs):
        for kind in KINDS:
            times[kind].append(seconds(model, kind))
    return times


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="Folder of the policy.")
    parser.add_argument("--runs", type=int, default=3, help="Loads of each kind.")
    options = parser.parse_args(argv)
    times = measure(options.model, options.runs)
    print("| load | seconds | median |\n|---|---|---:|")
    for kind, values in times.items():
        runs = ", ".join(f"{value:.2f}" for value in sorted(values))
        print(f"| {kind} | {runs} | {statistics.median(values):.2f} |")
    ratio = statistics.median(times["int8"]) / statistics.median(times["plain"])
    print(f"\nint8 takes {ratio:.2f} times as long")


if __name__ == "__main__":
    main()
