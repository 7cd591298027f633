"""Measure a machine with one GPU, on which nothing has to be installed.

    python -m benchmarks.gpu --wheels wheels --minutes 10

Steps of SFT, reward models, PPO and GRPO on three models with random weights in bf16, with CUDA
graphs and `compile` on and off; TRL's GRPO on the same work; FSDP2 on one rank; and each key that
needs a GPU once. Every section is a process of its own. A section that fails or takes too long is
recorded with its error, and the next one begins. Results are written after each section. The same
command measures what is missing: sections that failed or did not begin. GPU.md has the tables.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.jobs import MODULES, job_of
from benchmarks.gpu.page import write_page
from benchmarks.gpu.sections import (
    MODELS,
    SIZES,
    SMALL_MODELS,
    SMALL_SIZES,
    Section,
    Sizes,
    sections,
)

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "benchmarks" / "requirements-gpu.txt"
RESULTS, PAGE = "results.jsonl", "GPU.md"
LEAST_SECONDS = 15.0  # less than this is not enough for any section
LINES_OF_LOG = 20
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
Line = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what is missing, and write the page."""
    parser = _parser()
    options = parser.parse_args(argv)
    end = time.monotonic() + 60 * options.minutes
    # Ends the process of a section, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    models, sizes = (SMALL_MODELS, SMALL_SIZES) if options.small else (MODELS, SIZES)
    planned = sections(models, vllm=options.vllm)
    _check(parser, options, planned)
    folder = Path(options.folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    python = install(Path(options.wheels), folder) if options.wheels else Path(sys.executable)
    for section in missing(planned, read_results(folder), folder, options.only):
        left = end - time.monotonic()
        if left < LEAST_SECONDS:
            break
        line = measure(section, sizes, folder, python=python, limit=min(section.seconds, left))
        with (folder / RESULTS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{section.model.name}, {section.name}: {line.get('error', 'measured')}", flush=True)
        write_page(folder / PAGE, planned, sizes, read_results(folder))
    print(f"written: {folder / PAGE}")
    return 0


def _check(
    parser: argparse.ArgumentParser, options: argparse.Namespace, planned: Sequence[Section]
) -> None:
    known = dict.fromkeys(section.name for section in planned)
    for name in options.only or ():
        if name not in known:
            parser.error(f"--only {name}: no such section; choose from {'; '.join(known)}.")
    if options.wheels and not Path(options.wheels).is_dir():
        parser.error(f"--wheels {options.wheels}: no such folder; see {REQUIREMENTS.name}.")


def install(wheels: Path, folder: Path) -> Path:
    """Python of a new environment with the wheels; packages that the machine has are kept."""
    python = folder / "venv" / "bin" / "python"
    if not python.exists():
        venv = [sys.executable, "-m", "venv", "--system-site-packages", str(folder / "venv")]
        subprocess.run(venv, check=True)
    pip = [str(python), "-m", "pip", "install", "--no-index", "--find-links", str(wheels)]
    subprocess.run([*pip, "-r", str(REQUIREMENTS)], check=True)
    return python


def read_results(folder: Path) -> list[Line]:
    """The lines of results.jsonl; of each section the last one, except for the machine."""
    path = folder / RESULTS
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    lines: dict[object, Line] = {}
    for number, line in enumerate(map(json.loads, text.splitlines())):
        machine = line["stage"] == "machine"
        lines[number if machine else (line["model"], line["section"])] = line
    return list(lines.values())


def missing(
    planned: Sequence[Section], results: Sequence[Line], folder: Path, only: Sequence[str] | None
) -> list[Section]:
    """The sections to run: the machine, then those of the chosen without a result.

    Args:
        planned: all sections.
        results: what was measured before.
        folder: of the results.
        only: names of sections; None chooses all.
    """
    done = {(line["model"], line["section"]) for line in results if "error" not in line}
    wanted = [
        section
        for section in planned
        if section.stage not in ("machine", "inputs")
        and section.key not in done
        and (only is None or section.name in only)
    ]
    models = {section.model.name for section in wanted}
    needed = [
        section
        for section in planned
        if section.model.name in models
        and section.stage == "inputs"
        and not has_inputs(section, folder)
    ]
    chosen = {section.key for section in (*wanted, *needed)}
    return [s for s in planned if s.stage == "machine" or s.key in chosen]


def inputs_of(section: Section, folder: Path) -> Path:
    """Folder of the section's model and rows."""
    return folder / "inputs" / section.model.name


def has_inputs(section: Section, folder: Path) -> bool:
    """Whether the model and all rows are written."""
    return (inputs_of(section, folder) / "prompts.jsonl").exists()


def measure(section: Section, sizes: Sizes, folder: Path, *, python: Path, limit: float) -> Line:
    """The line of results of a section: its measurements, or an error and the end of its log."""
    line: Line = {
        "model": section.model.name,
        "section": section.name,
        "stage": section.stage,
        "keys": dict(section.keys),
    }
    if section.stage not in ("machine", "inputs") and not has_inputs(section, folder):
        return line | {"error": "not started: there is no model"}
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    job = job_of(section, sizes, inputs_of(section, folder), work / "run")
    (work / "job.json").write_text(json.dumps(job), encoding="utf-8")
    log = folder / "logs" / f"{section.model.name} {section.name}.log".replace(" ", "_")
    log.parent.mkdir(exist_ok=True)
    start = time.monotonic()
    status = run(
        _command(section, work, python), _environment(small=sizes is SMALL_SIZES), log, limit
    )
    line["wall_seconds"] = round(time.monotonic() - start, 1)
    result = work / "result.json"
    if status == 0 and result.exists():
        line |= json.loads(result.read_text(encoding="utf-8"))
    else:
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LINES_OF_LOG:]
        line |= {"error": error_of(status, limit, tail), "log": tail}
    shutil.rmtree(work, ignore_errors=True)  # the folder of the run has the saved models
    return line


def run(
    command: Sequence[str], environment: Mapping[str, str], log: Path, limit: float
) -> int | None:
    """The exit status of a process; None where it took longer than `limit` seconds."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            return None
        finally:
            # Also what the process started. A vLLM server has a guard of its own.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def error_of(status: int | None, limit: float, tail: Sequence[str]) -> str:
    """What went wrong, in a line."""
    if status is None:
        return f"took longer than {limit:.0f} s"
    last = next((text.strip() for text in reversed(tail) if text.strip()), "no output")
    return f"exit status {status}: {last}"


def _command(section: Section, work: Path, python: Path) -> list[str]:
    module = f"benchmarks.gpu.{MODULES[section.stage]}"
    files = [str(work / "job.json"), str(work / "result.json")]
    return [str(python), *section.launcher, module, *files]


def _environment(*, small: bool) -> dict[str, str]:
    """This environment, without what importing rlhf set here: TRL would inherit it."""
    own = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    own |= ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(paths)}
    return own | ({"OMP_NUM_THREADS": "1"} if small else {})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--wheels", help="Folder of wheels to install first, without a network.")
    add("--minutes", type=float, default=10.0, help="Time of all sections.")
    add("--folder", default="runs/gpu", help="Models, logs, results.jsonl and GPU.md.")
    add("--only", nargs="+", metavar="SECTION", help="Names of sections, as in GPU.md.")
    add("--vllm", help="Python of an environment with vLLM. Default: that of the run.")
    add("--small", action="store_true", help="A tiny model, for tests and for a CPU.")
    return parser


if __name__ == "__main__":
    sys.exit(main())
