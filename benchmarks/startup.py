"""Start-up of the commands: wall and processor seconds until they answer or take their first step.

    python -m benchmarks.startup [--runs 5] [--output benchmarks/STARTUP.md]

Every run is a new process tree. Python's compiled files and the files on disk are warm: one run
of each case is not counted. Processor seconds are those of all processes of a command, which the
kernel reports when they end; the share of each process is sampled every 20 ms. The first step is
the moment when a line of step 1 is in the run's metrics.jsonl; the command is ended then.
"""

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev

import psutil

from benchmarks.options import check_idle
from benchmarks.results import machine_lines
from rlhf.manifest import write_atomically

ROOT = Path(__file__).resolve().parent.parent
MODEL = "data/pocket/model"
POLL_SECONDS = 0.02
FLOORS = {
    "torch": "import torch",
    "torch, transformers": "import torch; from transformers import PreTrainedModel",
    "torch, transformers, TRL": "import torch; from trl import SFTTrainer",
}
HELP = ("sft", "reward", "ppo", "evaluate", "align", "chat", "serve", "sample", "label")
# Few rows and short responses: the first step itself takes a tenth of a second.
PPO_WORDS = (
    "--reward recipes/pocket/gold.py:score --train_data data/pocket/prompts_ppo.jsonl "
    "--rollout_batch_size 8 --num_minibatches 1 --max_completion_length 8 --max_prompt_length 96 "
    "--num_eval_prompts 2 --max_steps 50"
)
SFT_WORDS = "--train_data ROWS/demonstrations.jsonl --num_samples 0 --eval_fraction 0"
REWARD_WORDS = "--train_data ROWS/rankings.jsonl --eval_fraction 0 --logging_steps 1"
STEPS = {
    "sft": f"{SFT_WORDS} --logging_steps 1 --packing false --max_steps 50",
    "reward": f"{REWARD_WORDS} --max_steps 50",
    "ppo": PPO_WORDS,
}


@dataclass(frozen=True)
class Case:
    """One measured command; `run_folder` is set where it is measured to its first step."""

    name: str
    words: Sequence[str]
    run_folder: Path | None = None


@dataclass
class Run:
    """Seconds of one run."""

    wall: float = 0.0
    cpu: float = 0.0
    by_process: dict[str, float] = field(default_factory=dict)


def main() -> None:
    """Measure every case, the cases in turns, and write the page."""
    parser = _parser()
    options = parser.parse_args()
    check_idle(parser, busy=options.busy)
    machine = machine_lines(1, peer=f"trl {version('trl')}")
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        sections = cases(Path(folder))
        runs = measure([case for each in sections.values() for case in each], options.runs)
    lines = page(sections, runs, machine)
    write_atomically(Path(options.output), "\n".join(lines))
    print(f"written: {options.output}")


def cases(folder: Path) -> dict[str, list[Case]]:
    """The cases by section of the page. Rows and run folders are made in `folder`."""
    write_rows(folder)
    rlhf = [sys.executable, "-m", "rlhf.cli"]
    code = [sys.executable, "-c"]
    return {
        "Imports of the libraries, the floor of every run": [
            Case(name, [*code, program]) for name, program in FLOORS.items()
        ],
        "Answers without a model": [
            Case("import rlhf", [*code, "import rlhf"]),
            Case("rlhf --version", [*rlhf, "--version"]),
            *(Case(f"rlhf {name} --help", [*rlhf, name, "--help"]) for name in HELP),
        ],
        "A wrong key": [
            Case(f"rlhf {name} --no_such_key 1", [*rlhf, name, "--no_such_key", "1"])
            for name in ("sft", "reward", "ppo", "evaluate", "align")
        ],
        "`--dry_run` of the pocket recipes": [
            Case(f"rlhf {name} --dry_run", [*rlhf, name, *words.split(), "--dry_run"])
            for name, words in _dry_runs(folder).items()
        ],
        "The first optimizer step (PPO: the first iteration)": [
            _step_case(rlhf, name, words, folder) for name, words in STEPS.items()
        ],
    }


def write_rows(folder: Path) -> None:
    """64 demonstrations of the pocket world, and 16 rankings of them."""
    source = ROOT / "data/pocket/demonstrations.jsonl"
    lines = source.read_text(encoding="utf-8").splitlines()[:64]
    (folder / "demonstrations.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = [json.loads(line) for line in lines[:17]]
    rankings = [
        {"prompt": row["prompt"], "chosen": row["completion"], "rejected": other["completion"]}
        for row, other in pairwise(rows)
        if row["completion"] != other["completion"]
    ]
    text = "".join(json.dumps(ranking) + "\n" for ranking in rankings)
    (folder / "rankings.jsonl").write_text(text, encoding="utf-8")


def _dry_runs(folder: Path) -> dict[str, str]:
    model, output = f"--model_name_or_path {MODEL}", f"--output_dir {folder}/none"
    return {
        "sft": f"--config recipes/pocket/sft.yaml {output}",
        "reward": f"--config recipes/pocket/reward_model.yaml {output} "
        f"--train_data {folder}/rankings.jsonl",
        "ppo": f"--config recipes/pocket/ppo.yaml {output} {model} "
        "--reward recipes/pocket/gold.py:score",
        "evaluate": f"--config recipes/pocket/evaluate.yaml {output} "
        f"--models base={MODEL} --baseline base --reward_model",
        "align": f"--config recipes/pocket/align.yaml {output}",
    }


def _step_case(rlhf: Sequence[str], name: str, words: str, folder: Path) -> Case:
    run_folder = folder / name
    keys = ["--model_name_or_path", MODEL, "--output_dir", str(run_folder), "--overwrite"]
    arguments = words.replace("ROWS", str(folder)).split()
    return Case(f"rlhf {name}", [*rlhf, name, *keys, *arguments], run_folder)


def measure(all_cases: Sequence[Case], count: int) -> dict[str, list[Run]]:
    """`count` runs of each case, the cases in turns, after one that is not counted."""
    runs: dict[str, list[Run]] = {case.name: [] for case in all_cases}
    for number in range(count + 1):
        for case in all_cases:
            run = run_once(case)
            print(f"{number} {case.name}: {run.wall:.2f} s, CPU {run.cpu:.2f} s", flush=True)
            if number:
                runs[case.name].append(run)
    return runs


def run_once(case: Case) -> Run:
    """One run of the command, to its end or to its first step.

    Raises:
        RuntimeError: the command ended without a step.
    """
    folder = case.run_folder
    if folder is not None:
        (folder / "metrics.jsonl").unlink(missing_ok=True)
    run, start, before = Run(), time.perf_counter(), _cpu_of_ended()
    with tempfile.TemporaryFile("w+") as output:
        command = psutil.Popen(case.words, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        while command.poll() is None:
            _sample(command, run.by_process)
            if folder is not None and _has_step(folder):
                run.wall, run.cpu = time.perf_counter() - start, sum(run.by_process.values())
                command.terminate()
                command.wait()
                return run
            time.sleep(POLL_SECONDS)
        run.wall, run.cpu = time.perf_counter() - start, _cpu_of_ended() - before
        output.seek(0)
        if folder is not None:
            raise RuntimeError(f"{case.name} took no step:\n{output.read()[-2000:]}")
    return run


def _cpu_of_ended() -> float:
    """Processor seconds of all descendants of this process that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _sample(command: psutil.Process, by_process: dict[str, float]) -> None:
    """Note the processor seconds of the command and of the processes below it, by their role."""
    with contextlib.suppress(psutil.Error):  # one may end meanwhile
        for process in [command, *command.children(recursive=True)]:
            words = " ".join(process.cmdline())
            role = "agent" if "rlhf.runtime.agent" in words else "worker"
            name = "command" if process.pid == command.pid else role
            times = process.cpu_times()
            by_process[name] = times.user + times.system


def _has_step(folder: Path) -> bool:
    """Whether the metrics of the run have a line of step 1 or later."""
    try:
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return any(json.loads(line).get("step", 0) >= 1 for line in lines)
    except (OSError, ValueError):  # not there yet, or half a line
        return False


def page(
    sections: dict[str, list[Case]], runs: dict[str, list[Run]], machine: Sequence[str]
) -> list[str]:
    """The lines of the page."""
    lines = ["# Start-up", "", "`python -m benchmarks.startup`", ""]
    lines += [f"- {line}" for line in machine]
    lines += ["", READING, ""]
    for title, members in sections.items():
        lines += [f"## {title}", "", "| command | CPU s | wall s | CPU s by process |"]
        lines += ["|---|---:|---:|---|"]
        lines += [f"| `{case.name}` | {_cells(runs[case.name])} |" for case in members]
        lines += [""]
    return lines


READING = """\
Mean and standard deviation of the counted runs, one thread per process. CPU seconds are those of
all processes together: the command itself, the launcher's agent, and the worker with the recipe.
The shares by process are sampled every 20 ms, so the last of a short process are missing."""


def _cells(runs: Sequence[Run]) -> str:
    names = list(dict.fromkeys(name for run in runs for name in run.by_process))
    shares = [f"{name} {mean(run.by_process.get(name, 0.0) for run in runs):.2f}" for name in names]
    return " | ".join(
        [
            _mean_and_spread([run.cpu for run in runs]),
            _mean_and_spread([run.wall for run in runs]),
            ", ".join(shares) if len(shares) > 1 else "",
        ]
    )


def _mean_and_spread(values: Sequence[float]) -> str:
    spread = stdev(values) if len(values) > 1 else 0.0
    return f"{mean(values):.2f} ± {spread:.2f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=5, help="Counted runs of each case.")
    parser.add_argument("--busy", action="store_true", help="Measure on a busy machine too.")
    parser.add_argument("--output", default="benchmarks/STARTUP.md", help="Page to write.")
    return parser


if __name__ == "__main__":
    main()
