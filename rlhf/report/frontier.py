"""Reward against KL: over a run's checkpoints, and for best of N."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rlhf.report.charts import Series, line_chart
from rlhf.report.read import Row

FIT_POINTS = 41  # of a fitted curve
JUDGES = {"proxy": "proxy", "held_out": "held-out judge"}


@dataclass(frozen=True, kw_only=True)
class FrontierView:
    """The frontier's section of the page."""

    charts: Sequence[tuple[str, Markup, Sequence[str]]]  # title, chart, names of its lines
    verdict: str
    fits: Sequence[str]


def frontier_view(evaluation: Row) -> FrontierView | None:
    """The frontier of checkpoints and the best-of-N curve; None if there is neither."""
    frontier: Mapping[str, object] = evaluation.get("frontier") or {}
    charts = [*_checkpoint_charts(evaluation), *_best_of_n_charts(evaluation)]
    if not charts:
        return None
    fits = [
        f"{JUDGES.get(str(fit['judge']), '')}: {fit['form']} with α {fit['alpha']:.3g}, "
        f"β {fit['beta']:.3g}, R² {fit['r2']:.2f}"
        + (f" of {fit['n']} checkpoints" if "n" in fit else "")
        for fit in evaluation.get("frontier", {}).get("fits", [])
    ]
    return FrontierView(charts=charts, verdict=str(frontier.get("says", "")), fits=fits)


def _checkpoint_charts(evaluation: Row) -> list[tuple[str, Markup, list[str]]]:
    points = evaluation.get("frontier", {}).get("points", [])
    points = [p for p in points if all(isinstance(p.get(k), Mapping) for k in ("kl", *JUDGES))]
    if len(points) < 2:
        return []
    points = sorted(points, key=lambda point: float(point["kl"]["value"]))
    xs = [math.sqrt(max(0.0, point["kl"]["value"])) for point in points]
    charts = []
    for key, name in JUDGES.items():
        line = Series(name=name, xs=xs, ys=[float(point[key]["value"]) for point in points])
        fits = [fit for fit in evaluation["frontier"].get("fits", []) if fit["judge"] == key]
        lines = [line, *(_fitted(fit, xs, line.ys[0]) for fit in fits)]
        chart = line_chart(lines, x_label="√KL")
        title = f"checkpoints: score by the {name} over √KL"
        charts.append((title, chart, [each.name for each in lines]))
    return charts


def _fitted(fit: Row, xs: Sequence[float], start: float) -> Series:
    """The curve of a fit over its checkpoints; start: the reference's score."""
    positive = [x for x in xs if x > 0]
    low, high = min(positive), max(positive)
    ds = [low + (high - low) * i / (FIT_POINTS - 1) for i in range(FIT_POINTS)]
    bends = [math.log(d) if "log" in str(fit["form"]) else d for d in ds]
    ys = [start + d * (fit["alpha"] - fit["beta"] * b) for d, b in zip(ds, bends, strict=True)]
    return Series(name=str(fit["form"]), xs=ds, ys=ys)


def _best_of_n_charts(evaluation: Row) -> list[tuple[str, Markup, list[str]]]:
    """Win rates over the KL bound, one line per judge."""
    results: Sequence[Row] = evaluation.get("results", [])
    bounds = {r["model"]: float(r["value"]) for r in results if r["metric"] == "kl_bound"}
    wins = [r for r in results if r["metric"] == "win_rate" and r["model"] in bounds]
    if len(bounds) < 2 or not wins:
        return []
    lines = []
    for judge in dict.fromkeys(str(r["judge"]) for r in wins):
        by_judge = [r for r in wins if r["judge"] == judge]
        xs = [bounds[r["model"]] for r in by_judge]
        lines.append(Series(name=judge.replace("_", " "), xs=xs, ys=[r["value"] for r in by_judge]))
    names = [line.name for line in lines]
    return [("best of N: win rate over the KL bound", line_chart(lines, x_label="nats"), names)]
