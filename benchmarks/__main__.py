"""python -m benchmarks: both engines on the same workloads, one table for each.

    python -m benchmarks --peer benchmarks/.venv-peer/bin/python --workloads A B C E

The peer is trl==1.12.0 in its own environment (`make bench` creates it); without it only rlhf is
measured. The engines alternate after each iteration, on a machine that should be idle otherwise.
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

from benchmarks.learning import Curve, measure_learning
from benchmarks.measure import measure
from benchmarks.models import make_folders
from benchmarks.options import check_idle
from benchmarks.results import machine_lines, write_results
from benchmarks.section import Section
from benchmarks.workloads import (
    SMOKE,
    WORKLOADS,
    A,
    Job,
    Variant,
    Workload,
    process_variants,
    variants,
)
from rlhf.models.config import fast_bf16
from rlhf.runtime.printing import quiet_logs

NAMES = ("A", "B", "C", "D", "E")
LEARNING_RATE = 1e-6  # the weights hardly change, so that every iteration has the same work


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the selected workloads and write RESULTS.md and its plot."""
    parser = _parser()
    options = parser.parse_args(argv)
    _check_labels(parser, options)
    check_idle(parser, busy=options.busy or options.smoke)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the workers on its way out
    quiet_logs()
    start, machine = time.monotonic(), machine_lines(options.threads)
    sections: list[Section] = []
    curves: list[Curve] = []
    notes: list[str] = []
    peer = Path(options.peer) if options.peer else None
    if not fast_bf16():
        notes.append("This device is not fast at bf16: bf16 variants were left out.")
    if peer is None:
        notes.append("TRL was not measured: no ratios.")
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as scratch:
        for name in ["smoke"] if options.smoke else options.workloads:
            folder = Path(scratch) / name
            if name == "D":
                models, seeds = Path(options.models).resolve(), options.seeds
                curves = measure_learning(models, seeds, options.threads, folder, peer)
            else:
                sections.append(_section(name, options, folder, peer))
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
    lines = (*variants(1, bf16=fast_bf16()), *process_variants(bf16=fast_bf16()))
    known = [line.label for line in lines]
    for label in options.only or ():
        if label not in known:
            parser.error(f"--only {label}: no such variant; choose from {', '.join(known)}.")


def _section(name: str, options: argparse.Namespace, folder: Path, peer: Path | None) -> Section:
    if name == "smoke":
        smallest = [line for line in variants(1, bf16=False) if line.label == "rlhf fp32"]
        return _run(SMOKE, smallest, options, folder, peer)
    if name == "E":
        section = _run(A, process_variants(bf16=fast_bf16()), options, folder, peer)
        return replace(section, title="E: processes (workload A)")
    lines = variants(options.threads, bf16=fast_bf16())
    return _run(WORKLOADS[name], lines, options, folder, peer)


def _run(
    workload: Workload,
    lines: Sequence[Variant],
    options: argparse.Namespace,
    folder: Path,
    peer: Path | None,
) -> Section:
    """Measure one workload."""
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


def _job(workload: Workload, line: Variant, folder: Path, options: argparse.Namespace) -> Job:
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
        variant=line,
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
        "--iterations", type=int, default=3, help="Counted iterations, after one for warm-up."
    )
    parser.add_argument("--threads", type=int, default=2, help="CPU threads per process.")
    parser.add_argument("--only", nargs="+", help="Labels of the variants to measure.")
    parser.add_argument("--busy", action="store_true", help="Measure on a busy machine too.")
    parser.add_argument("--smoke", action="store_true", help="A tiny model and rlhf only: seconds.")
    parser.add_argument(
        "--models", default="runs/pocket", help="D: folder with sft/ and reward_model_of_chat/."
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4], help="Seeds of D.")
    parser.add_argument(
        "--output",
        default="benchmarks/RESULTS.md",
        help="Results page; the plots are next to it.",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
