"""RESULTS.md and its plot, from the measurements."""

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks.learning import Curve, draw_learning, learning_lines
from benchmarks.measure import Measured
from benchmarks.roofline import count_work, roofline_seconds
from benchmarks.section import Section
from benchmarks.targets import BASELINE, target_lines, update_share

MIB = 2**20
COLUMNS = (
    "line", "samples/s", "× trl", "tokens/s", "× trl, tokens", "CPU s", "rollout s", "score s",
    "update s",    "update, share of matmul rate", "floor s (FLOPs + bytes)", "share of floor",
    "peak MiB", "less imports", "× trl ", "tokens",
)  # fmt: skip


def machine_lines(num_threads: int, *, peer: str = "trl 1.12.0") -> list[str]:
    """The machine, the versions, and the load of the machine.

    peer: name and version of the library to compare with, where it is in another environment.
    """
    load = os.getloadavg()[0]
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"
    return [
        f"{_processor()}, {os.cpu_count()} cores, {num_threads} threads per process; {gpu}",
        f"Python {platform.python_version()}, torch {version('torch')}, transformers "
        f"{version('transformers')}; peer {peer}",
        f"code of commit {_commit()}",
        f"load average of the minute before: {load:.2f}"
        + (" — **the machine was busy: do not use these numbers**" if load > 0.5 else ""),
    ]


def write_results(
    path: Path,
    sections: Sequence[Section],
    curves: Sequence[Curve],
    notes: Sequence[str],
    *,
    machine: Sequence[str],
    command: str,
    minutes: float,
) -> None:
    """Write the page, and its plots next to it."""
    lines = ["# Results", "", f"`{command}`: {minutes:.0f} minutes.", ""]
    lines += [f"- {line}" for line in machine]
    lines += ["", READING, ""]
    for section in sections:
        lines += [f"## {section.title}", "", *_about(section), "", *_table(section), ""]
    lines += target_lines(sections)
    if sections:
        plot = f"{path.stem.lower()}.svg"
        draw(path.with_name(plot), sections)
        lines += [f"![samples per second and peak memory]({plot})", ""]
    if curves:
        plot = f"{path.stem.lower()}-learning.svg" if sections else f"{path.stem.lower()}.svg"
        draw_learning(path.with_name(plot), curves)
        lines += learning_lines(curves, plot)
    lines += [note + "\n" for note in notes]
    path.write_text("\n".join(lines), encoding="utf-8")
    print(f"written: {path}")


READING = """\
Means of the counted iterations, after one that is not counted; the variants alternate after
each iteration. `trl` is TRL 1.12 as its users run it: its `bf16=True` computes in float32. `trl
tuned` trains inside `torch.autocast`, where the device is fast at bf16, and rolls out a quarter
of the batch at a time. Ratios are against `trl`. `shared_trunk` and `lora` are other algorithms
and not comparable. CPU s is the processor time of all processes in a turn. Memory is
the sum of the peaks of launcher and workers. The floor is the counted operations at the matmul
rate plus the counted bytes at the copy rate, both measured between the turns (`roofline.py`
counts); a share of the floor is the part of that speed that was reached. Response lengths
are random: on B compare tokens too."""


def row_of(line: Measured, trl: Measured | None, section: Section) -> list[str]:
    """The cells of one row, see COLUMNS."""
    seconds, tokens = line.mean("seconds"), line.mean("response_tokens")
    trl_tokens = trl.mean("response_tokens") / trl.mean("seconds") if trl else None
    work = count_work(section.workload, prompt_tokens=section.prompt_tokens, response_tokens=tokens)
    operations, moved = roofline_seconds(work, section.rates, bf16=line.variant.bf16)
    of_separate = [
        f"{update_share(line, section):.0%}",
        f"{operations:.2f} + {moved:.2f}",
        f"{(operations + moved) / seconds:.0%}",
    ]
    return [
        line.variant.label,
        f"{section.workload.batch_size / seconds:.2f}",
        f"{trl.mean('seconds') / seconds:.2f}" if trl else "",
        f"{tokens / seconds:.0f}",
        f"{tokens / seconds / trl_tokens:.2f}" if trl_tokens else "",
        f"{line.mean('cpu_seconds'):.2f}",
        *(f"{line.mean(f'seconds_{phase}'):.2f}" for phase in ("rollout", "score", "update")),
        *(of_separate if line.variant.mode == "separate" else [""] * 3),
        f"{line.peak / MIB:.0f}",
        f"{line.after_loading / MIB:.0f}",
        f"{line.peak / trl.peak:.2f}, {line.after_loading / trl.after_loading:.2f}" if trl else "",
        f"{tokens:.0f}",
    ]


def _about(section: Section) -> list[str]:
    rates = section.rates
    return [
        f"Matmul {rates.matmul_fp32 / 1e9:.0f} GFLOP/s in fp32, {rates.matmul_bf16 / 1e9:.0f} in "
        f"bf16; copy {rates.copy / 1e9:.1f} GB/s read and written."
    ]


def _table(section: Section) -> list[str]:
    trl = next((line for line in section.measured if line.variant.label == BASELINE), None)
    rows = [row_of(line, trl, section) for line in section.measured]
    header = [COLUMNS, ["---", *["---:"] * (len(COLUMNS) - 1)]]
    return ["| " + " | ".join(cells) + " |" for cells in [*header, *rows]]


def draw(path: Path, sections: Sequence[Section]) -> None:
    """Draw bars of speed and memory, one pair of panels for each workload."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    height = 0.6 + 0.32 * max(len(section.measured) for section in sections)
    figure, panels = pyplot.subplots(
        len(sections), 2, figsize=(10, height * len(sections)), squeeze=False, layout="constrained"
    )
    for (speed, memory), section in zip(panels, sections, strict=True):
        labels = [line.variant.label for line in section.measured]
        colors = ["#888888" if label.startswith("trl") else "#2a6fb0" for label in labels]
        rates = [section.workload.batch_size / line.mean("seconds") for line in section.measured]
        peaks = [line.peak / MIB for line in section.measured]
        for panel, values, form in ((speed, rates, "%.2f"), (memory, peaks, "%.0f")):
            panel.bar_label(panel.barh(labels, values, color=colors), fmt=form, padding=3)
            panel.invert_yaxis()
            panel.margins(x=0.15)
            panel.spines[["top", "right"]].set_visible(False)
        memory.set_yticks([])
        speed.set_title(f"{section.title}: samples per second", loc="left", fontsize=10)
        memory.set_title("peak MiB, all processes", loc="left", fontsize=10)
    figure.savefig(path)
    pyplot.close(figure)


def _commit() -> str:
    """The commit of this checkout, `-dirty` if files were changed."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=7"]
    folder = Path(__file__).parent
    try:
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown (no git checkout)"
    return result.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
