"""The list next to the picture of a comparison: each method's best strength and its cost."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from rlhf.report.read import Row
from rlhf.report.svg_parts import words

WIDTH, ROW = 250, 84


def cost_panel(
    ranked: Sequence[str], content: Row, hues: Mapping[str, int], *, x: float, y: float
) -> Markup:
    """Each method with its best point and the mean cost of a run there.

    Args:
        ranked: names of the methods, the best first.
        content: of compare.json.
        hues: number of the colour of each method.
        x: of the left edge.
        y: of the first row.
    """
    best = [_best(content, name) for name in ranked]
    most = {
        key: max((_cost(point, key) for point in best), default=0.0)
        for key in ("responses", "tokens", "seconds")
    }
    parts = [words(x, y - 20, "best strength, and cost of a run", "dim")]
    for index, point in enumerate(best):
        top = y + ROW * index + 10
        hue = hues[str(point["method"])]
        win = point["win_rate"]
        parts += [words(x, top, str(point["method"]), f"name m{hue}")]
        at = f"{point['key']} {point['value']:g}"
        parts += [words(x + WIDTH, top, at, "dim small end")]
        figure = f"{win['value']:.2f} [{win['low']:.2f}, {win['high']:.2f}]"
        parts += [words(x, top + 16, figure, "figure")]
        parts += [words(x + WIDTH, top + 16, _nats(point), "dim small end")]
        parts += _bars(point, most, x, top + 23, hue)
    return Markup("").join(parts)


def _bars(point: Row, most: Mapping[str, float], x: float, y: float, hue: int) -> list[Markup]:
    """Bars of responses, tokens and seconds, each relative to the method with the most."""
    if not point["runs"]:
        text = f"no training; {point['responses_per_answer']} responses per answer"
        return [words(x, y + 10, text, "dim small")]
    parts = []
    units = {"responses": "sampled", "tokens": "tokens trained", "seconds": "s"}
    for index, (key, unit) in enumerate(units.items()):
        value, top = _cost(point, key), y + 12 * index
        share = value / most[key] if most[key] else 0.0
        bar = Markup('<rect class="bar m{}" x="{}" y="{:.1f}" width="{:.1f}" height="6" rx="2"/>')
        parts.append(bar.format(hue, x, top + 3, max(1.0, 100 * share)))
        parts.append(words(x + 108, top + 9.5, f"{_short(value)} {unit}", "dim small"))
    return parts


def _best(content: Row, name: str) -> Row:
    value = next(each["value"] for each in content["best"] if each["method"] == name)
    points: Sequence[Row] = content["points"]
    return next(p for p in points if (p["method"], p["value"]) == (name, value))


def _cost(point: Row, key: str) -> float:
    values = [float(run[key]) for run in point["runs"]]
    return sum(values) / len(values) if values else 0.0


def _nats(point: Row) -> str:
    return f"{'≤ ' if point['kl'].get('is_bound') else ''}{point['kl']['value']:.2g} nats"


def _short(value: float) -> str:
    """`7,680`, `52 k`, `1.3 M`."""
    if value < 10_000:
        return f"{value:,.0f}"
    return f"{value / 1e3:,.0f} k" if value < 1e6 else f"{value / 1e6:,.1f} M"
