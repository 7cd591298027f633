"""The picture of a comparison: win rate against the square root of KL, and the cost next to it.

It is an SVG of its own, readable on light and dark pages. Lengths are in its own units.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from rlhf.report.comparison_panel import ROW, cost_panel
from rlhf.report.label_places import disk_box, least_overlap, name_places, value_places
from rlhf.report.read import Row
from rlhf.report.svg_parts import line, path, words

WIDTH, LEFT, TOP, PLOT, HEIGHT = 940, 58, 70, 590, 400  # of the plot: width and height
PANEL = 685  # x of the list of methods
ROOM = 1.22  # of the x axis beyond the last point, for the names of the methods
NAME_SIZE, VALUE_SIZE = 13, 10  # of fonts, as in the CSS file
KL_TICKS = (
    0,
    0.01,
    0.03,
    0.1,
    0.25,
    0.5,
    1,
    2,
    3,
    5,
    8,
    12,
    17,
    25,
    35,
    50,
    75,
    100,
    150,
    200,
    300,
    500,
    1000,
)
HUES = 8  # in the CSS file, for light and dark pages
CSS = Path(__file__).with_name("comparison_chart.css")


@dataclass(frozen=True, kw_only=True)
class Axes:
    """Where values are on the plot."""

    d_max: float  # √nats at the right edge
    low: float  # win rates at the bottom and the top
    high: float

    def x(self, kl: float) -> float:
        """Of a KL in nats."""
        return LEFT + math.sqrt(max(0.0, kl)) / self.d_max * PLOT

    def y(self, win_rate: float) -> float:
        """Of a win rate."""
        return TOP + (self.high - win_rate) / (self.high - self.low) * HEIGHT


def comparison_chart(content: Row) -> Markup:
    """The picture of the content of compare.json."""
    points: Sequence[Row] = content["points"]
    names = list(dict.fromkeys(str(point["method"]) for point in points))
    hues = {name: index % HUES for index, name in enumerate(names)}
    axes = axes_of(points)
    ranked = [str(best["method"]) for best in content["best"]]
    height = max(TOP + HEIGHT + 84, TOP + ROW * len(names) + 40)
    parts = [
        Markup("<style>{}</style>").format(Markup(CSS.read_text(encoding="utf-8"))),
        Markup('<rect class="page" width="{}" height="{}" rx="8"/>').format(WIDTH, height),
        words(20, 30, "Win rate against the SFT model, by distance from it", "title"),
        words(20, 50, _subtitle(content), "dim"),
        _grid(axes),
        _front(points, axes),
        *(_method(name, points, axes, hues[name]) for name in names),
        _labels(names, points, axes, hues),
        _key(points),
        cost_panel(ranked, content, hues, x=PANEL, y=TOP),
    ]
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" class="methods" viewBox="0 0 {} {}" role="img">'
        "<title>Win rate against KL for each method</title>{}</svg>"
    ).format(WIDTH, height, Markup("\n").join(parts))


def axes_of(points: Sequence[Row]) -> Axes:
    """Axes that hold all intervals, the SFT model at (0, 0.5), and the names on the right."""
    farthest = max(float(point["kl"]["value"]) for point in points)
    lows = [0.5, *(float(point["win_rate"]["low"]) for point in points)]
    highs = [0.5, *(float(point["win_rate"]["high"]) for point in points)]
    low, high = min(lows) - 0.02, max(highs) + 0.03
    return Axes(d_max=math.sqrt(max(farthest, 1e-3)) * ROOM, low=max(0.0, low), high=min(1.0, high))


def _subtitle(content: Row) -> str:
    seeds = len(content["seeds"])
    return (
        f"judge: {content['judge_name']} · {content['num_prompts']} held-out prompts · "
        f"{seeds} seed{'s' if seeds > 1 else ''} · 95% intervals over "
        f"{'prompts and seeds' if seeds > 1 else 'prompts'}"
    )


def _grid(axes: Axes) -> Markup:
    step = 0.1 if axes.high - axes.low > 0.3 else 0.05
    parts = []
    for index in range(round(1 / step) + 1):
        rate = index * step
        if axes.low <= rate <= axes.high:
            y = axes.y(rate)
            tone = "even" if abs(rate - 0.5) < 1e-9 else "grid"
            parts += [line(LEFT, y, LEFT + PLOT, y, tone)]
            parts += [words(LEFT - 8, y + 4, f"{rate:.2g}", "dim end")]
    parts.append(words(LEFT + PLOT, axes.y(0.5) - 5, "SFT model", "dim end"))
    last = -100.0
    for kl in KL_TICKS:
        x = axes.x(kl)
        if x <= LEFT + PLOT and x - last > 40:
            parts.append(line(x, TOP + HEIGHT, x, TOP + HEIGHT + 5, "tick"))
            parts.append(words(x, TOP + HEIGHT + 19, f"{kl:g}", "dim middle"))
            last = x
    label = "KL from the SFT model, nats per response (square-root scale)"
    parts.append(words(LEFT + PLOT / 2, TOP + HEIGHT + 38, label, "dim middle"))
    return Markup("").join(parts)


def _front(points: Sequence[Row], axes: Axes) -> Markup:
    """The Pareto front, from the SFT model on, as a broad band behind the lines."""
    front = sorted((p for p in points if p["pareto"]), key=lambda p: float(p["kl"]["value"]))
    if not front:
        return Markup("")
    return path([(axes.x(0), axes.y(0.5)), *(_place(point, axes) for point in front)], "front")


def _method(name: str, points: Sequence[Row], axes: Axes, hue: int) -> Markup:
    """The points of a method with their intervals, joined in the order of their KL."""
    own = sorted((p for p in points if p["method"] == name), key=lambda p: float(p["kl"]["value"]))
    bound = "bound " if own[0]["kl"].get("is_bound") else ""
    start = (axes.x(0), axes.y(0.5))
    parts = [
        path([start, _place(own[0], axes)], f"start m{hue}"),
        path([_place(point, axes) for point in own], f"{bound}curve m{hue}"),
    ]
    for point in own:
        x, y = _place(point, axes)
        win, kl = point["win_rate"], point["kl"]
        parts.append(line(x, axes.y(win["low"]), x, axes.y(win["high"]), f"whisker m{hue}"))
        if not kl.get("is_bound"):
            parts.append(line(axes.x(kl["low"]), y, axes.x(kl["high"]), y, f"whisker m{hue}"))
    return Markup("").join([*parts, *(_mark(point, axes, hue) for point in own)])


def _mark(point: Row, axes: Axes, hue: int) -> Markup:
    """A disk; hollow beyond the method's peak, with a cross if over-optimised."""
    x, y = _place(point, axes)
    hollow = point["peak"] is not None
    tip = (
        f"{point['method']}, {point['key']} {point['value']}: win rate "
        f"{point['win_rate']['value']:.3f}, KL {point['kl']['value']:.2f} nats"
    )
    disk = Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="4.5"><title>{}</title></circle>')
    parts = [disk.format(f"{'hollow' if hollow else 'disk'} m{hue}", x, y, tip)]
    if point["over_optimized"]:
        parts += [line(x - 2.4, y - 2.4, x + 2.4, y + 2.4, f"cross m{hue}")]
        parts += [line(x - 2.4, y + 2.4, x + 2.4, y - 2.4, f"cross m{hue}")]
    return Markup("").join(parts)


def _labels(
    names: Sequence[str], points: Sequence[Row], axes: Axes, hues: Mapping[str, int]
) -> Markup:
    """The name of each method next to its farthest point, and the swept value at every point."""
    choices = []
    for name in names:
        own = [point for point in points if point["method"] == name]
        x, y = _place(max(own, key=lambda p: float(p["kl"]["value"])), axes)
        choices.append(name_places(x, y, name, NAME_SIZE))
    choices += [value_places(*_place(p, axes), f"{p['value']:g}", VALUE_SIZE) for p in points]
    disks = [disk_box(*_place(point, axes)) for point in points]
    labels = least_overlap(choices, disks, top=TOP - 12, right=LEFT + PLOT + 20)
    tones = [*(f"name m{hues[name]}" for name in names), *("strength" for _ in points)]
    return Markup("").join(label.draw(tone) for label, tone in zip(labels, tones, strict=True))


def _key(points: Sequence[Row]) -> Markup:
    """What the marks mean, below the plot; only those that occur."""
    y, x = TOP + HEIGHT + 64, float(LEFT)
    parts = []
    if any(point["pareto"] for point in points):
        parts += [
            path([(x, y - 4), (x + 24, y - 4)], "front"),
            words(x + 32, y, "Pareto front", "dim"),
        ]
        x += 130
    parts += [words(x, y, "small numbers: the swept key", "dim")]
    x += 190
    if any(point["over_optimized"] for point in points):
        circle = Markup('<circle class="hollow" cx="{:.1f}" cy="{:.1f}" r="4.5"/>')
        parts.append(circle.format(x + 5, y - 4))
        parts += [line(x + 2.6, y - 6.4, x + 7.4, y - 1.6, "cross")]
        parts += [line(x + 2.6, y - 1.6, x + 7.4, y - 6.4, "cross")]
        parts += [words(x + 16, y, "over-optimised", "dim")]
        x += 120
    if any(point["kl"].get("is_bound") for point in points):
        parts += [path([(x, y - 4), (x + 24, y - 4)], "bound curve")]
        parts += [words(x + 32, y, "KL is a bound", "dim")]
    return Markup("").join(parts)


def _place(point: Row, axes: Axes) -> tuple[float, float]:
    return axes.x(float(point["kl"]["value"])), axes.y(float(point["win_rate"]["value"]))
