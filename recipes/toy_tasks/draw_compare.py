"""Draw the methods of compare.py below the exact frontier.

    python recipes/toy_tasks/draw_compare.py runs/toy_tasks/compare/results.jsonl \\
        --output compare.svg

Left: gain in gold against √KL, with the gain that is possible. Right: the share of it that each
method reaches. Means over worlds with 95% intervals (Student's t).
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from recipes.seed_results import Numbers, read_numbers  # noqa: E402
from recipes.toy_tasks.compare_points import Point, frontier_of, points_of  # noqa: E402
from rlhf.report.comparison_chart import (  # noqa: E402
    CSS,
    HUES,
    KL_TICKS,
    NAME_SIZE,
    VALUE_SIZE,
)
from rlhf.report.label_places import (  # noqa: E402
    disk_box,
    least_overlap,
    name_places,
    value_places,
)
from rlhf.report.svg_parts import line, path, words  # noqa: E402

WIDTH, LEFT, TOP, PLOT, HEIGHT = 940, 58, 84, 520, 400  # of the left plot: width and height
LIST, SHARES, ROW, GAP = 640, 180, 19, 12  # of the right plot: x, width, height of a row, of a gap
EXTRA_CSS = (
    ".methods polygon.reach { fill: var(--ink); opacity: .05; } "
    ".methods polyline.frontier { stroke: var(--ink); stroke-width: 1.6; }"
)


@dataclass(frozen=True, kw_only=True)
class Axes:
    """Where values are on the left plot."""

    d_max: float  # √nats at the right edge
    gain_max: float

    def x(self, kl: float) -> float:
        """Of a KL in nats."""
        return LEFT + math.sqrt(max(0.0, kl)) / self.d_max * PLOT

    def y(self, gain: float) -> float:
        """Of a gain in gold."""
        return TOP + (1 - gain / self.gain_max) * HEIGHT


def picture(worlds: Sequence[Numbers]) -> Markup:
    """The SVG of both plots."""
    points, frontier = points_of(worlds), frontier_of(worlds)
    names = list(dict.fromkeys(point.method for point in points))
    hues = {name: index % HUES for index, name in enumerate(names)}
    farthest = max(point.kl.value for point in points) * 1.25
    inside = [place for place in frontier if place[0] <= farthest] + [
        place for place in frontier if place[0] > farthest
    ][:1]
    axes = Axes(d_max=math.sqrt(max(farthest, inside[-1][0])), gain_max=inside[-1][1] * 1.04)
    count = f"{len(worlds)} worlds, means with 95% intervals" if len(worlds) > 1 else "one world"
    parts = [
        Markup("<style>{}{}</style>").format(
            Markup(CSS.read_text(encoding="utf-8")), Markup(EXTRA_CSS)
        ),
        Markup('<rect class="page" width="{}" height="{}" rx="8"/>').format(
            WIDTH, TOP + HEIGHT + 62
        ),
        words(20, 30, "What each method makes of the same 2,500 noisy labels", "title"),
        words(20, 50, f"a task whose best possible result is known · {count}", "dim"),
        _grid(axes),
        _frontier(inside, axes),
        *(_method([p for p in points if p.method == name], axes, hues[name]) for name in names),
        _labels(points, names, axes, hues),
        _shares(points, names, hues),
    ]
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" class="methods" viewBox="0 0 {} {}" role="img">'
        "<title>Gain in gold against KL, below the exact frontier</title>{}</svg>\n"
    ).format(WIDTH, TOP + HEIGHT + 62, Markup("\n").join(parts))


def _grid(axes: Axes) -> Markup:
    parts = [words(LEFT, TOP - 12, "gain in gold, standard deviations of the SFT model", "dim")]
    for gain in range(math.ceil(axes.gain_max)):
        y = axes.y(gain)
        parts += [line(LEFT, y, LEFT + PLOT, y, "grid")]
        parts += [words(LEFT - 8, y + 4, f"{gain}", "dim end")]
    last = -100.0
    for kl in KL_TICKS:
        x = axes.x(kl)
        if x <= LEFT + PLOT + 1 and x - last > 40:
            parts.append(line(x, TOP + HEIGHT, x, TOP + HEIGHT + 5, "tick"))
            parts.append(words(x, TOP + HEIGHT + 19, f"{kl:g}", "dim middle"))
            last = x
    label = "KL from the SFT model, nats per response (square-root scale)"
    parts.append(words(LEFT + PLOT / 2, TOP + HEIGHT + 40, label, "dim middle"))
    return Markup("").join(parts)


def _frontier(frontier: Sequence[tuple[float, float]], axes: Axes) -> Markup:
    """The frontier, and a shade over what no policy can reach."""
    places = [(axes.x(kl), axes.y(gain)) for kl, gain in frontier]
    corners = [*places, (places[-1][0], TOP), (LEFT, TOP)]
    shade = Markup('<polygon class="reach" points="{}"/>').format(
        " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    )
    label = words(LEFT + 14, TOP + 24, "no policy gains this much at this KL", "dim")
    return Markup("").join([shade, path(places, "frontier"), label])


def _method(points: Sequence[Point], axes: Axes, hue: int) -> Markup:
    """The points of a method with their intervals, joined in the order of their KL."""
    own = sorted(points, key=lambda point: point.kl.value)
    places = [(axes.x(point.kl.value), axes.y(point.gain.value)) for point in own]
    bound = "bound " if own[0].is_bound else ""
    parts = [
        path([(axes.x(0), axes.y(0)), places[0]], f"start m{hue}"),
        path(places, f"{bound}curve m{hue}"),
    ]
    for point, (x, y) in zip(own, places, strict=True):
        low, high = axes.y(point.gain.low), axes.y(point.gain.high)
        parts.append(line(x, low, x, high, f"whisker m{hue}"))
        left, right = axes.x(point.kl.low), axes.x(point.kl.high)
        parts.append(line(left, y, right, y, f"whisker m{hue}"))
        disk = Markup('<circle class="disk m{}" cx="{:.1f}" cy="{:.1f}" r="4.5"/>')
        parts.append(disk.format(hue, x, y))
    return Markup("").join(parts)


def _labels(
    points: Sequence[Point], names: Sequence[str], axes: Axes, hues: Mapping[str, int]
) -> Markup:
    """The name of each method next to its farthest point, and the strength at every point."""

    def place(point: Point) -> tuple[float, float]:
        return axes.x(point.kl.value), axes.y(point.gain.value)

    last = [
        max((p for p in points if p.method == name), key=lambda p: p.kl.value) for name in names
    ]
    choices = [name_places(*place(point), point.method, NAME_SIZE) for point in last]
    choices += [value_places(*place(point), point.value, VALUE_SIZE) for point in points]
    disks = [disk_box(*place(point)) for point in points]
    labels = least_overlap(choices, disks, top=TOP, right=LEFT + PLOT + 20)
    tones = [*(f"name m{hues[name]}" for name in names), *("strength" for _ in points)]
    return Markup("").join(label.draw(tone) for label, tone in zip(labels, tones, strict=True))


def _shares(points: Sequence[Point], names: Sequence[str], hues: Mapping[str, int]) -> Markup:
    """The right plot: a row for each point with its share of the possible gain."""
    parts = [words(LIST, TOP - 12, "share of the possible gain at its KL", "dim")]
    y = float(TOP) + 6
    for name in names:
        own = [point for point in points if point.method == name]
        parts.append(words(LIST, y + 4, name, f"name m{hues[name]}"))
        parts.append(words(LIST + SHARES + 90, y + 4, own[0].key, "dim small end"))
        for point in own:
            y += ROW
            parts += _share(point, y, hues[name])
        y += ROW + GAP
    return Markup("").join(parts)


def _share(point: Point, y: float, hue: int) -> list[Markup]:
    """A row: the interval on a scale from 0 to 1, the number, and the strength."""
    share = point.efficiency

    def x(value: float) -> float:
        return LIST + min(1.0, max(0.0, value)) * SHARES

    disk = Markup('<circle class="{} m{}" cx="{:.1f}" cy="{:.1f}" r="4"/>')
    bound = "≥ " if point.is_bound else ""
    return [
        line(x(0), y, x(1), y, "grid"),
        line(x(1), y - 5, x(1), y + 5, "tick"),
        line(x(share.low), y, x(share.high), y, f"whisker m{hue}"),
        disk.format("hollow" if point.is_bound else "disk", hue, x(share.value), y),
        words(LIST + SHARES + 48, y + 4, f"{bound}{share.value:.2f}", "figure end"),
        words(LIST + SHARES + 90, y + 4, point.value, "dim small end"),
    ]


def main() -> None:
    """Draw the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, help="results.jsonl of compare.py")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    worlds = list(read_numbers(args.results).values())
    args.output.write_text(picture(worlds), encoding="utf-8")


if __name__ == "__main__":
    main()
