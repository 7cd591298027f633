"""Charts as inline SVG without script, font or request; colours come from the page's style.

Lengths are in the SVG's own units; the page scales them. `Markup.format` escapes every text.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 360, 180
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 14, 24
MAX_POINTS = 400
ROW_HEIGHT = 32  # of one bar of a forest plot
MAX_BARS = 16  # of one plot: as many as fit on a printed page


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line: y over x."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar of a forest plot: a value with its interval; infinite ends are no interval."""

    label: str
    value: float
    low: float
    high: float
    mde: float | None = None  # minimal detectable effect

    @property
    def text(self) -> str:
        """The label, and what the value detects."""
        return f"{self.label}, detects ± {self.mde:.2g}" if self.mde else self.label


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A point of a scatter plot, with its CSS class and tooltip."""

    x: float
    y: float
    shade: str
    tip: str


def line_chart(
    series: Sequence[Series], *, x_label: str = "step", mark: float | None = None
) -> Markup:
    """All series on common axes: raw points as a thin line, their running mean as a thick one.

    mark: x of a vertical line.
    """
    drawn = [finite for one in series if (finite := thinned(one)).xs]
    if not drawn:
        return Markup("")
    x_low, x_high = _span([x for one in drawn for x in one.xs])
    y_low, y_high = _span([y for one in drawn for y in one.ys])
    parts = [_grid(x_low, x_high, y_low, y_high, x_label)]
    if mark is not None and x_low <= mark <= x_high:
        x = LEFT + (mark - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        parts.append(_vertical(x, TOP, HEIGHT - BOTTOM, "middle"))
    for index, one in enumerate(drawn):
        xs = [LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT) for x in one.xs]
        raw = [_y(y, y_low, y_high) for y in one.ys]
        mean = [_y(y, y_low, y_high) for y in smoothed(one.ys)]
        parts.append(_polyline(xs, raw, f"raw c{index}"))
        parts.append(_polyline(xs, mean, f"line c{index}"))
        tip = f"{one.name}: {_short(one.ys[0])} to {_short(one.ys[-1])}"
        parts.append(
            Markup('<circle class="dot c{}" cx="{:.1f}" cy="{:.1f}" r="3">').format(
                index, xs[-1], raw[-1]
            )
            + Markup("<title>{}</title></circle>").format(tip)
        )
    return _svg(WIDTH, HEIGHT, parts)


def forest_plot(
    bars: Sequence[Bar], *, middle: float = 0.5, ends: tuple[float, float] = (0.0, 1.0)
) -> Markup:
    """Values with their intervals on an axis between `ends`; by default win rates.

    Many bars are split into several plots: browsers do not break one between two pages.
    """
    if len(bars) > MAX_BARS:
        plots = [bars[i : i + MAX_BARS] for i in range(0, len(bars), MAX_BARS)]
        return Markup("").join(forest_plot(plot, middle=middle, ends=ends) for plot in plots)
    height = ROW_HEIGHT * len(bars) + 24
    low, high = ends

    def x_of(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    parts = [_vertical(x_of(middle), 2, height - 18, "middle")]
    parts += [_label(x_of(x), height - 4, _short(x), "middle") for x in (low, middle, high)]
    for index, bar in enumerate(bars):
        y = ROW_HEIGHT * index + 24
        tone = "good" if bar.low > middle else "bad" if bar.high < middle else "even"
        # The label is above its bar: on a phone there is no room next to it.
        parts.append(_label(LEFT, y - 9, bar.text, "start"))
        parts.append(_label(LEFT - 8, y + 4, f"{bar.value:.2f}", "end"))
        if math.isfinite(bar.low):
            parts.append(
                Markup('<line class="whisker {}" x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/>').format(
                    tone, x_of(bar.low), x_of(bar.high), y, y
                )
            )
        parts.append(
            Markup('<circle class="{}" cx="{:.1f}" cy="{}" r="4"/>').format(
                tone, x_of(bar.value), y
            )
        )
    return _svg(WIDTH, height, parts)


def scatter(dots: Sequence[Dot], *, x_label: str, y_label: str, bare: bool = False) -> Markup:
    """Dots on common axes; `bare` leaves out axis numbers that have no meaning."""
    drawn = [dot for dot in dots if math.isfinite(dot.x) and math.isfinite(dot.y)]
    if not drawn:
        return Markup("")
    x_low, x_high = _span([dot.x for dot in drawn])
    y_low, y_high = _span([dot.y for dot in drawn])
    if bare:
        parts = [
            _label(LEFT, HEIGHT - 6, f"{x_label} →", "start"),
            _label(LEFT - 5, 10, f"{y_label} ↑", "start"),
        ]
    else:
        parts = [
            _grid(x_low, x_high, y_low, y_high, x_label),
            _label(LEFT - 5, 10, f"{y_label} ↑", "start"),
        ]
    for dot in drawn:
        x = LEFT + (dot.x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        circle = Markup('<circle class="spot {}" cx="{:.1f}" cy="{:.1f}" r="3">').format(
            dot.shade, x, _y(dot.y, y_low, y_high)
        )
        parts.append(circle + Markup("<title>{}</title></circle>").format(dot.tip))
    return _svg(WIDTH, HEIGHT, parts)


def smoothed(values: Sequence[float]) -> list[float]:
    """Running mean over a tenth of the points; short series are not smoothed."""
    reach = len(values) // 20
    windows = [values[max(0, i - reach) : i + reach + 1] for i in range(len(values))]
    return [sum(window) / len(window) for window in windows]


def thinned(series: Series) -> Series:
    """At most `MAX_POINTS` finite points of the series, evenly spaced, including the last one."""
    points = [(x, y) for x, y in zip(series.xs, series.ys, strict=True) if math.isfinite(y)]
    stride = max(1, math.ceil(len(points) / MAX_POINTS))
    points = points[::-1][::stride][::-1]
    return Series(name=series.name, xs=[x for x, _ in points], ys=[y for _, y in points])


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Lowest and highest value, widened if they are equal."""
    low, high = min(values), max(values)
    if low < high:
        return low, high
    room = abs(low) * 0.1 or 1.0
    return low - room, high + room


def _y(value: float, low: float, high: float) -> float:
    return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)


def _grid(x_low: float, x_high: float, y_low: float, y_high: float, x_label: str) -> Markup:
    lines = Markup("")
    for share in (0.0, 0.5, 1.0):
        value = y_low + share * (y_high - y_low)
        y = _y(value, y_low, y_high)
        lines += Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(
            LEFT, WIDTH - RIGHT, y, y
        )
        lines += _label(LEFT - 5, y + 4, _short(value), "end")
    lines += _label(LEFT, HEIGHT - 6, _short(x_low), "start")
    lines += _label(WIDTH - RIGHT, HEIGHT - 6, f"{x_label} {_short(x_high)}", "end")
    return lines


def _polyline(xs: Sequence[float], ys: Sequence[float], tone: str) -> Markup:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
    return Markup('<polyline class="{}" points="{}"/>').format(tone, points)


def _vertical(x: float, top: float, bottom: float, tone: str) -> Markup:
    return Markup('<line class="{}" x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/>').format(
        tone, x, x, top, bottom
    )


def _label(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        x, y, anchor, text
    )


def _svg(width: int, height: int, parts: Sequence[Markup]) -> Markup:
    return Markup('<svg viewBox="0 0 {} {}" role="img">{}</svg>').format(
        width, height, Markup("").join(parts)
    )


def _short(value: float) -> str:
    """Three significant digits; whole numbers in full."""
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    if abs(value) < 1e-2:  # -0.00241 is too wide for the margin
        digits, _, power = f"{value:.1e}".partition("e")
        return f"{digits}e{int(power)}"
    return f"{value:.3g}"
