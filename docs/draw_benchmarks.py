"""Draw docs/images/benchmarks.svg: samples per second of rlhf and TRL, from benchmarks/RESULTS.md.

python docs/draw_benchmarks.py
"""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
LINES = {"trl": "#9aa5b1", "trl tuned": "#cbd2d9", "rlhf fp32": "#8bb8e8", "rlhf bf16": "#2f6fb5"}
NAMES = {"trl": "TRL 1.12", "trl tuned": "TRL 1.12, tuned"}
WORKLOADS = ("A", "B", "C")
WIDTH, LEFT, ROW, GAP, TOP = 760, 230, 20, 34, 64


def samples_per_second(report: str) -> dict[str, dict[str, float]]:
    """Workload title -> line -> samples per second, from the tables of RESULTS.md."""
    rates = {}
    for section in report.split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        if title[:1] in WORKLOADS and title[1:2] == ":":
            rows = re.findall(r"^\| ([a-z0-9 _]+?) \| ([0-9.]+) \|", body, re.MULTILINE)
            rates[title] = {name: float(rate) for name, rate in rows if name in LINES}
    return rates


def draw(workloads: dict[str, dict[str, float]]) -> str:
    """One bar for each line of each workload."""
    highest = max(rate for lines in workloads.values() for rate in lines.values())
    scale = (WIDTH - LEFT - 130) / highest
    height = TOP + len(workloads) * (len(LINES) * ROW + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#ffffff"/>',
        '<text x="20" y="30" font-size="16" font-weight="bold" fill="#1f2933">'
        "PPO samples per second on two CPU cores (higher is better)</text>",
    ]
    y = TOP
    for title, lines in workloads.items():
        parts.append(f'<text x="20" y="{y}" font-weight="bold" fill="#1f2933">{title}</text>')
        for name, color in LINES.items():
            rate = lines[name]
            y += ROW
            ratio = f"  ({rate / lines['trl']:.1f}x)" if name.startswith("rlhf") else ""
            parts += [
                f'<text x="{LEFT - 10}" y="{y}" text-anchor="end" fill="#3e4c59">'
                f"{NAMES.get(name, name)}</text>",
                f'<rect x="{LEFT}" y="{y - 12}" width="{rate * scale:.1f}" height="14" rx="2" '
                f'fill="{color}"/>',
                f'<text x="{LEFT + rate * scale + 8:.1f}" y="{y}" fill="#3e4c59">'
                f"{rate:.2f}{ratio}</text>",
            ]
        y += GAP
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    """Read the report, write the picture."""
    report = (ROOT / "benchmarks/RESULTS.md").read_text(encoding="utf-8")
    picture = ROOT / "docs/images/benchmarks.svg"
    picture.write_text(draw(samples_per_second(report)), encoding="utf-8")


if __name__ == "__main__":
    main()
