"""A reward model's evaluation.json as charts: accuracy by part, calibration, best of N."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rlhf.report.charts import Series, forest_plot, line_chart
from rlhf.report.interval import bar_of, interval_text
from rlhf.report.read import Row

SHARES = ("accuracy", "human_agreement", "longer_wins", "demonstrations_above")
BEST_OF_N = (
    ("best of N: reward", "reward"),
    ("best of N: share of the other responses that annotators ranked lower", "people"),
)


@dataclass(frozen=True, kw_only=True)
class RewardModelView:
    """The reward model's section of the page."""

    forest: Markup
    charts: Sequence[tuple[str, Markup, Sequence[str]]]  # title, chart, names of its lines
    metrics: Sequence[tuple[str, str, int]]  # label, value with interval, prompts


def reward_model_view(evaluation: Row) -> RewardModelView | None:
    """The section; None if no reward model was evaluated."""
    results: list[Row] = list(evaluation.get("results", []))
    if not results:
        return None
    return RewardModelView(
        forest=_forest(results),
        charts=[*_calibration(evaluation), *_best_of_n(evaluation)],
        metrics=[(_label(r), interval_text(r), int(r["n"])) for r in results],
    )


def _forest(results: Sequence[Row]) -> Markup:
    """Shares: accuracies, agreement of annotators, longer wins, demonstrations above random."""
    bars = [bar_of(_label(r), r) for r in results if r["metric"] in SHARES]
    return forest_plot(bars) if bars else Markup("")


def _calibration(evaluation: Row) -> list[tuple[str, Markup, list[str]]]:
    """Accuracy over confidence, with the diagonal of a calibrated model."""
    bins: list[Row] = list(evaluation.get("reliability", []))
    if len(bins) < 2:
        return []
    xs = [float(one["confidence"]) for one in bins]
    lines = [
        Series(name="accuracy", xs=xs, ys=[float(one["accuracy"]) for one in bins]),
        Series(name="calibrated", xs=xs, ys=xs),
    ]
    return [("calibration", line_chart(lines, x_label="σ(difference)"), [x.name for x in lines])]


def _best_of_n(evaluation: Row) -> list[tuple[str, Markup, list[str]]]:
    """Reward and annotators' preference over the KL bound, in two charts: their units differ."""
    points: list[Row] = list(evaluation.get("best_of_n", []))
    if len(points) < 2:
        return []
    xs = [float(point["kl_bound"]) for point in points]
    charts = []
    for title, key in BEST_OF_N:
        line = Series(name=title, xs=xs, ys=[float(point[key]) for point in points])
        charts.append((title, line_chart([line], x_label="KL bound, nats"), [title]))
    return charts


def _label(result: Row) -> str:
    label = str(result["metric"]).replace("_", " ")
    label = f"{label}: {result['axis']}" if result.get("axis") else label
    return f"{label}, {result['subset']}" if result.get("subset") else label
