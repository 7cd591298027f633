"""python -m benchmarks: both engines on the same work, one table for each workload.

    python -m benchmarks --peer benchmarks/.venv-peer/bin/python --workloads A B C E

The peer is trl==1.12.0 in an environment of its own (make bench makes it); without one our lines
stand alone. Takes turns of one iteration each on a machine that should have nothing else to do.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.learning import Curve, measure_learning
from benchmarks.measure import measure
from benchmarks.models import make_folders
from benchmarks.results import say_machine, write_results
from benchmarks.section import Section
from benchmarks.workloads import (
    SMOKE,
    WORKLOADS,
    A,
    Contestant,
    Job,
    Workload,
    contestants,
    gpu_workloads,
    process_contestants,
)
from rlhf.models.config import fast_bf16
from rlhf.runtime.printing import quiet_logs

NAMES = ("A", "B", "C", "D", "E", "GPU")
LEARNING_RATE = 1e-6  # the weights stay what they were made as: the work is the same each time


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what was asked for and write RESULTS.md and its plot."""
    parser = _parser()
    options = parser.parse_args(argv)
    _check_labels(parser, options)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the workers on its way out
    quiet_logs()
    start, machine = time.monotonic(), say_machine(options.threads)
    sections: list[Section] = []
    curves: list[Curve] = []
    notes: list[str] = []
    if not torch.cuda.is_available():
        notes.append("No GPU was at hand: the GPU's workloads were not run.")
    peer = Path(options.peer) if options.peer else None
    if not fast_bf16():
        notes.append("This device is not fast at bf16: lines in bf16 were left out.")
    if peer is None:
        notes.append("trl was not there: no ratios.")
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as scratch:
        for name in ["smoke"] if options.smoke else options.workloads:
            folder = Path(scratch) / name
            if name == "D":
                models, seeds = Path(options.models).resolve(), options.seeds
                curves = measure_learning(models, seeds, options.threads, folder, peer)
            elif name != "GPU" or torch.cuda.is_available():
                sections += _sections(name, options, folder, peer)
            shutil.rmtree(folder, ignore_errors=True)
    minutes = (time.monotonic() - start) / 60
    command = " ".join(["python -m benchmarks", *(argv if argv is not None else sys.argv[1:])])
    write_results(
        Path(options.output),
        sections,
        curves,
        notes,
        machine=machine,
        command=command,
        minutes=minutes,
    )
    return 0


def _check_labels(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    lines = (*contestants(1, bf16=fast_bf16()), *process_contestants(bf16=fast_bf16()))
    known = [line.label for line in lines]
    for label in options.only or ():
        if label not in known:
            parser.error(f"--only {label}: there is no such line; there are {', '.join(known)}.")


def _sections(
    name: str, options: argparse.Namespace, folder: Path, peer: Path | None
) -> list[Section]:
    if name == "smoke":
        smallest = [line for line in contestants(1, bf16=False) if line.label == "rlhf fp32"]
        return [_run(SMOKE, smallest, options, folder, peer)]
    if name == "E":
        section = _run(A, process_contestants(bf16=fast_bf16()), options, folder, peer)
        return [replace(section, title="E: processes (workload A)")]
    lines = contestants(options.threads, bf16=fast_bf16())
    if name == "GPU":
        return [
            _run(workload, lines, options, folder / str(number), peer)
            for number, workload in enumerate(gpu_workloads())
        ]
    return [_run(WORKLOADS[name], lines, options, folder, peer)]


def _run(
    workload: Workload,
    lines: Sequence[Contestant],
    options: argparse.Namespace,
    folder: Path,
    peer: Path | None,
) -> Section:
    """One workload's table."""
    print(f"{workload.name}: {workload.about}", flush=True)
    make_folders(workload, folder)
    wanted = [
        line
        for line in lines
        if (peer or line.engine == "rlhf") and (not options.only or line.label in options.only)
    ]
    jobs = [_job(workload, line, folder, options) for line in wanted]
    measured, rates = measure(jobs, folder, peer_python=peer or Path(sys.executable))
    title = f"{workload.name}: {workload.about}"
    return Section(title=title, workload=workload, measured=measured, rates=rates)


def _job(workload: Workload, line: Contestant, folder: Path, options: argparse.Namespace) -> Job:
    return Job(
        policy=str(folder / "policy"),
        reward_model=str(folder / "reward_model"),
        prompts=str(folder / "prompts.jsonl"),
        output_dir=str(folder / "out" / line.label.replace(" ", "-")),
        iterations=1 + options.iterations,
        seed=0,
        batch_size=workload.batch_size,
        num_epochs=workload.num_epochs,
        num_minibatches=workload.num_minibatches,
        max_prompt_length=workload.prompt_lengths[1],
        max_response_length=workload.max_response_length,
        learning_rate=LEARNING_RATE,
        kl_coef=0.05,
        missing_eos_penalty=None,
        contestant=line,
        on_gpu=workload.on_gpu,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workloads", nargs="+", choices=NAMES, default=["A", "B", "C", "E"])
    parser.add_argument("--peer", help="Python of the environment with trl==1.12.0.")
    parser.add_argument(
        "--iterations", type=int, default=3, help="Counted ones; one more warms up."
    )
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of a process.")
    parser.add_argument("--only", nargs="+", help="Labels of lines, no others.")
    parser.add_argument("--smoke", action="store_true", help="A tiny model, our lines: seconds.")
    parser.add_argument(
        "--models", default="runs/pocket", help="D: holds sft/ and reward_model_of_chat/."
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4], help="Of D.")
    parser.add_argument(
        "--output", default="benchmarks/RESULTS.md", help="The plots lie beside it."
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
