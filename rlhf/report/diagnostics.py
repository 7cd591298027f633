"""A reward model's evaluation.json as charts: accuracy in parts, calibration, best of N."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rlhf.report.charts import Bar, Series, forest_plot, line_chart
from rlhf.report.read import Row


@dataclass(frozen=True, kw_only=True)
class HealthView:
    """What the page shows."""

    forest: Markup
    charts: Sequence[tuple[str, Markup, Sequence[str]]]  # title, chart, names of its lines
    figures: Sequence[tuple[str, str, int]]  # label, value with interval, prompts


def health(evaluation: Row) -> HealthView | None:
    """The view; None where no reward model was evaluated."""
    results: list[Row] = list(evaluation.get("results", []))
    if not results:
        return None
    return HealthView(
        forest=_forest(results),
        charts=[*_calibration(evaluation), *_best_of_n(evaluation)],
        figures=[(_label(r), _cell(r), int(r["n"])) for r in results],
    )


def _forest(results: Sequence[Row]) -> Markup:
    """Shares of pairs: accuracies, people's agreement, length; demonstrations above nonsense."""
    shown = ("accuracy", "human_agreement", "longer_wins", "demonstrations_above")
    bars = [
        Bar(label=_label(r), value=r["value"], low=r["low"], high=r["high"])
        for r in results
        if r["metric"] in shown
    ]
    return forest_plot(bars) if bars else Markup("")


def _calibration(evaluation: Row) -> list[tuple[str, Markup, list[str]]]:
    """Accuracy over confidence, beside the diagonal of a model whose differences are true."""
    bins: list[Row] = list(evaluation.get("reliability", []))
    if len(bins) < 2:
        return []
    xs = [float(one["confidence"]) for one in bins]
    lines = [
        Series(name="accuracy", xs=xs, ys=[float(one["accuracy"]) for one in bins]),
        Series(name="as claimed", xs=xs, ys=xs),
    ]
    return [("calibration", line_chart(lines, x_label="σ(difference)"), [x.name for x in lines])]


def _best_of_n(evaluation: Row) -> list[tuple[str, Markup, list[str]]]:
    """Reward and people's view over the KL bound, a chart each: their units differ."""
    points: list[Row] = list(evaluation.get("best_of_n", []))
    if len(points) < 2:
        return []
    xs = [float(point["kl_bound"]) for point in points]
    found = []
    for title, key in (
        ("best of N: reward", "reward"),
        ("best of N: share of the others that people put below", "people"),
    ):
        line = Series(name=title, xs=xs, ys=[float(point[key]) for point in points])
        found.append((title, line_chart([line], x_label="KL bound, nats"), [title]))
    return found


def _label(result: Row) -> str:
    words = str(result["metric"]).replace("_", " ")
    words = f"{words}: {result['axis']}" if result.get("axis") else words
    return f"{words}, {result['subset']}" if result.get("subset") else words


def _cell(result: Row) -> str:
    value, low, high = (f"{float(result[key]):.3g}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"
