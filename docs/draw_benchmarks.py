"""Draw the charts of docs/research/benchmarks.md from the tables in benchmarks/.

python docs/draw_benchmarks.py
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
COLORS = {"trl": "#9aa5b1", "tuned": "#cbd2d9", "rlhf": "#2f6fb5", "fp32": "#8bb8e8"}
LINES = ("trl", "trl tuned", "rlhf fp32", "rlhf bf16")
NAMES = {"trl": "TRL 1.12", "trl tuned": "TRL 1.12, tuned"}
WORKLOADS = ("A", "B", "C")
WIDTH, LEFT, ROW, GAP, TOP = 760, 230, 20, 34, 64


@dataclass(frozen=True)
class Bar:
    """One bar and the text next to it."""

    name: str
    value: float
    text: str

    @property
    def color(self) -> str:
        """By library, lighter for a variant that is not the main one."""
        if not self.name.startswith("rlhf"):
            light = "tuned" in self.name or "no checkpointing" in self.name
            return COLORS["tuned" if light else "trl"]
        return COLORS["fp32" if "fp32" in self.name else "rlhf"]


def ppo_bars(report: str) -> dict[str, list[Bar]]:
    """Samples per second by workload, from RESULTS.md."""
    groups = {}
    for section in report.split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        if title[:1] in WORKLOADS and title[1:2] == ":":
            found = re.findall(r"^\| ([a-z0-9 _]+?) \| ([0-9.]+) \|", body, re.MULTILINE)
            rates = {name: float(rate) for name, rate in found if name in LINES}
            groups[title] = [
                Bar(
                    NAMES.get(name, name),
                    rates[name],
                    f"{rates[name]:.2f}" + _times(rates[name] / rates["trl"], name),
                )
                for name in LINES
            ]
    return groups


def group_bars(report: str) -> dict[str, list[Bar]]:
    """Seconds of an iteration by workload, table and machine, from GROUPS.md or GROUPS-long.md."""
    machine = report.split("\n- ", 1)[1].partition(",")[0].replace("(R)", "")
    groups: dict[str, list[Bar]] = {}
    for section in report.split("\n## ")[1:]:
        workload, _, body = section.partition("\n")
        for table in body.split("\n\n"):
            found = re.findall(r"^\| ((?:trl|rlhf) [^|]+?) \| ([0-9.]+) \|", table, re.MULTILINE)
            bars = [(name, float(seconds)) for name, seconds in found]
            if bars and bars[0][0].startswith("trl"):
                title = f"{workload}: {bars[0][0].removeprefix('trl ')} ({machine})"
                groups[title] = [
                    Bar(name, seconds, f"{seconds:.1f} s" + _times(bars[0][1] / seconds, name))
                    for name, seconds in bars
                ]
    return groups


def _times(ratio: float, name: str) -> str:
    return f"  ({ratio:.1f}x)" if name.startswith("rlhf") else ""


def draw(title: str, groups: Mapping[str, Sequence[Bar]], *, one_scale: bool) -> str:
    """A bar chart with one group of bars under each heading; each has its own scale otherwise."""
    highest = max(bar.value for bars in groups.values() for bar in bars)
    height = TOP + sum(len(bars) * ROW + GAP for bars in groups.values())
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#ffffff"/>',
        f'<text x="20" y="30" font-size="16" font-weight="bold" fill="#1f2933">{title}</text>',
    ]
    y = TOP
    for heading, bars in groups.items():
        longest = highest if one_scale else max(bar.value for bar in bars)
        scale = (WIDTH - LEFT - 130) / longest
        parts.append(f'<text x="20" y="{y}" font-weight="bold" fill="#1f2933">{heading}</text>')
        for bar in bars:
            y += ROW
            parts += [
                f'<text x="{LEFT - 10}" y="{y}" text-anchor="end" fill="#3e4c59">{bar.name}</text>',
                f'<rect x="{LEFT}" y="{y - 12}" width="{bar.value * scale:.1f}" height="14" '
                f'rx="2" fill="{bar.color}"/>',
                f'<text x="{LEFT + bar.value * scale + 8:.1f}" y="{y}" fill="#3e4c59">'
                f"{bar.text}</text>",
            ]
        y += GAP
    return "\n".join([*parts, "</svg>"]) + "\n"


def _report(name: str) -> str:
    return (ROOT / "benchmarks" / name).read_text(encoding="utf-8")


def main() -> None:
    """Read the tables, write the pictures."""
    charts = {
        "benchmarks.svg": draw(
            "PPO samples per second on two CPU cores (higher is better)",
            ppo_bars(_report("RESULTS.md")),
            one_scale=True,
        ),
        "groups.svg": draw(
            "Seconds of an iteration on two CPU cores (a scale per group)",
            group_bars(_report("GROUPS.md")) | group_bars(_report("GROUPS-long.md")),
            one_scale=False,
        ),
    }
    for name, picture in charts.items():
        (ROOT / "docs/images" / name).write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
