"""Draw what each method of methods.py buys: efficiency, KL, and how fast.

    python recipes/toy_tasks/draw_methods.py runs/toy_tasks/methods/results.jsonl \\
        --output methods.svg

A row for each method, a column for each measure: means over worlds with 95% intervals (Student's
t), and a thin line at the value of GRPO.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from recipes.seed_results import Mean, Numbers, read_numbers  # noqa: E402
from recipes.toy_tasks.methods_found import (  # noqa: E402
    BASELINE,
    EFFICIENCY,
    ITERATIONS,
    KL,
    Found,
    measures_of,
)
from rlhf.report.comparison_chart import CSS  # noqa: E402
from rlhf.report.svg_parts import line, words  # noqa: E402

WIDTH, LEFT, TOP, ROW = 940, 190, 100, 24
STEP, SCALE = 245, 170  # distance of columns, and length of a column's scale
COLUMNS = {
    EFFICIENCY: ("share of the possible gain", ".2f"),
    KL: ("KL from the SFT model, nats", ".1f"),
    ITERATIONS: ("iterations to 90% of its gain", ".0f"),
}


@dataclass(frozen=True, kw_only=True)
class Column:
    """A measure, and where its values are."""

    measure: str
    left: float
    low: float  # at the left end of the scale
    high: float

    def x(self, value: float) -> float:
        """Of a value; values beyond the scale are at its end."""
        share = (value - self.low) / (self.high - self.low)
        return self.left + min(1.0, max(0.0, share)) * SCALE


def columns_of(found: Found) -> list[Column]:
    """Scales that hold all means, with room for a part of the intervals."""
    columns = []
    for index, measure in enumerate(COLUMNS):
        values = [of_method[measure].value for of_method in found.values()]
        room = 0.35 * (max(values) - min(values)) or 0.1 * abs(values[0]) or 1.0
        low, high = max(0.0, min(values) - room), max(values) + room
        columns.append(Column(measure=measure, left=LEFT + index * STEP, low=low, high=high))
    return columns


def picture(worlds: Sequence[Numbers]) -> Markup:
    """The SVG."""
    found = measures_of(worlds)
    columns = columns_of(found)
    height = TOP + ROW * len(found) + 24
    count = f"{len(worlds)} worlds, means with 95% intervals" if len(worlds) > 1 else "one world"
    parts = [
        Markup("<style>{}</style>").format(Markup(CSS.read_text(encoding="utf-8"))),
        Markup('<rect class="page" width="{}" height="{}" rx="8"/>').format(WIDTH, height),
        words(20, 30, "What each method buys when the reward is the gold score itself", "title"),
        words(20, 50, f"60 iterations of 256 responses, kl_coef 0.3 · {count}", "dim"),
        *(_head(column, found) for column in columns),
        *(_row(name, index, found, columns) for index, name in enumerate(found)),
    ]
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" class="methods" viewBox="0 0 {} {}" role="img">'
        "<title>Efficiency, KL and speed of methods of policy optimisation</title>{}</svg>\n"
    ).format(WIDTH, height, Markup("\n").join(parts))


def _head(column: Column, found: Found) -> Markup:
    title, form = COLUMNS[column.measure]
    bottom = TOP + ROW * len(found)
    parts = [words(column.left, TOP - 28, title, "dim")]
    parts += [words(column.left, TOP - 10, f"{column.low:{form}}", "dim small")]
    parts += [words(column.left + SCALE, TOP - 10, f"{column.high:{form}}", "dim small end")]
    if BASELINE in found:
        x = column.x(found[BASELINE][column.measure].value)
        parts.append(line(x, TOP, x, bottom, "even"))
    return Markup("").join(parts)


def _row(name: str, index: int, found: Found, columns: Sequence[Column]) -> Markup:
    y = TOP + ROW * (index + 0.5)
    parts = [words(LEFT - 14, y + 4, name, "end")]
    for column in columns:
        parts += _cell(found[name][column.measure], column, y)
    return Markup("").join(parts)


def _cell(mean: Mean, column: Column, y: float) -> list[Markup]:
    """The interval on the column's scale, and the number."""
    _, form = COLUMNS[column.measure]
    disk = Markup('<circle class="disk m0" cx="{:.1f}" cy="{:.1f}" r="4"/>')
    return [
        line(column.left, y, column.left + SCALE, y, "grid"),
        line(column.x(mean.low), y, column.x(mean.high), y, "whisker m0"),
        disk.format(column.x(mean.value), y),
        words(column.left + SCALE + 40, y + 4, f"{mean.value:{form}}", "figure end"),
    ]


def main() -> None:
    """Draw the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, help="results.jsonl of methods.py")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    args.output.write_text(picture(list(read_numbers(args.results).values())), encoding="utf-8")


if __name__ == "__main__":
    main()
