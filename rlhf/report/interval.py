"""A figure with its interval, as text and as a bar of a plot."""

import math
from collections.abc import Iterable

from rlhf.report.charts import Bar
from rlhf.report.read import Row


def interval_text(figure: Row) -> str:
    """`0.73 [0.70, 0.76], detects ± 0.04`.

    The last part is the minimal detectable effect; files of earlier versions and exact values have
    none. The value alone if its prompts are too few for an interval.
    """
    if figure["low"] is None:
        return f"{float(figure['value']):.3g}"
    value, low, high = (f"{float(figure[key]):.3g}" for key in ("value", "low", "high"))
    detects = f", detects ± {float(figure['mde']):.2g}" if figure.get("mde") else ""
    return f"{value} [{low}, {high}]{detects}"


def bar_of(label: str, figure: Row, *, detects: bool = False) -> Bar:
    """The figure as a bar of a forest plot.

    detects: whether the label says what the figure detects; a long one has no room for it.
    """
    value, low, high = (figure[key] for key in ("value", "low", "high"))
    mde = figure.get("mde") if detects else None
    if low is None:
        return Bar(label=f"{label}, no interval", value=value, low=-math.inf, high=math.inf)
    return Bar(label=label, value=value, low=low, high=high, mde=mde)


def edge_of(bars: Iterable[Bar]) -> float:
    """The distance from 0 of the farthest value or end of an interval; 1 if all are 0."""
    ends = (end for bar in bars for end in (bar.value, bar.low, bar.high))
    return max(abs(end) for end in ends if math.isfinite(end)) or 1.0
