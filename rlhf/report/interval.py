"""A figure with its interval, as text and as a bar of a plot."""

from rlhf.report.charts import Bar
from rlhf.report.read import Row


def interval_text(figure: Row) -> str:
    """`0.73 [0.70, 0.76], detects ± 0.04`.

    The last part is the minimal detectable effect; files of earlier versions and exact values have
    none.
    """
    value, low, high = (f"{float(figure[key]):.3g}" for key in ("value", "low", "high"))
    detects = f", detects ± {float(figure['mde']):.2g}" if figure.get("mde") else ""
    return f"{value} [{low}, {high}]{detects}"


def bar_of(label: str, figure: Row, *, detects: bool = False) -> Bar:
    """The figure as a bar of a forest plot.

    detects: whether the label says what the figure detects; a long one has no room for it.
    """
    value, low, high = (figure[key] for key in ("value", "low", "high"))
    mde = figure.get("mde") if detects else None
    return Bar(label=label, value=value, low=low, high=high, mde=mde)
