"""Reward against KL: over a run's checkpoints, and of the best of N answers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rlhf.report.charts import Series, line_chart
from rlhf.report.read import Row

FITTED = 41  # points of a fitted curve

JUDGES = {"proxy": "proxy", "held_out": "held-out judge"}


@dataclass(frozen=True, kw_only=True)
class FrontierView:
    """What the page shows."""

    charts: Sequence[tuple[str, Markup, Sequence[str]]]
    says: str
    fits: Sequence[str]


def frontier_view(evaluation: Row) -> FrontierView | None:
    """The frontier of checkpoints and the curve of best of N; None where there is neither."""
    made: Mapping[str, object] = evaluation.get("frontier") or {}
    charts = [*_of_checkpoints(evaluation), *_of_best(evaluation)]
    if not charts:
        return None
    fits = [
        f"{JUDGES.get(str(fit['judge']), '')}: {fit['form']} with α {fit['alpha']:.3g}, "
        f"β {fit['beta']:.3g}, R² {fit['r2']:.2f}"
        + (f" of {fit['n']} checkpoints" if "n" in fit else "")
        for fit in evaluation.get("frontier", {}).get("fits", [])
    ]
    return FrontierView(charts=charts, says=str(made.get("says", "")), fits=fits)


def _of_checkpoints(evaluation: Row) -> list[tuple[str, Markup, list[str]]]:
    points = evaluation.get("frontier", {}).get("points", [])
    points = [p for p in points if all(isinstance(p.get(k), Mapping) for k in ("kl", *JUDGES))]
    if len(points) < 2:
        return []
    points = sorted(points, key=lambda point: float(point["kl"]["value"]))
    xs = [math.sqrt(max(0.0, point["kl"]["value"])) for point in points]
    found = []
    for key, name in JUDGES.items():
        line = Series(name=name, xs=xs, ys=[float(point[key]["value"]) for point in points])
        fits = [fit for fit in evaluation["frontier"].get("fits", []) if fit["judge"] == key]
        lines = [line, *(_fitted(fit, xs, line.ys[0]) for fit in fits)]
        chart = line_chart(lines, x_label="√KL")
        title = f"checkpoints: score by the {name} over √KL"
        found.append((title, chart, [each.name for each in lines]))
    return found


def _fitted(fit: Row, xs: Sequence[float], start: float) -> Series:
    """The curve of a fit over the checkpoints that it rests on; start: the reference's score."""
    away = [x for x in xs if x > 0]
    low, high = min(away), max(away)
    ds = [low + (high - low) * i / (FITTED - 1) for i in range(FITTED)]
    bends = [math.log(d) if "log" in str(fit["form"]) else d for d in ds]
    ys = [start + d * (fit["alpha"] - fit["beta"] * b) for d, b in zip(ds, bends, strict=True)]
    return Series(name=str(fit["form"]), xs=ds, ys=ys)


def _of_best(evaluation: Row) -> list[tuple[str, Markup, list[str]]]:
    """Win rates over the bound of the KL, a line a judge."""
    results: Sequence[Row] = evaluation.get("results", [])
    bounds = {r["model"]: float(r["value"]) for r in results if r["metric"] == "kl_bound"}
    wins = [r for r in results if r["metric"] == "win_rate" and r["model"] in bounds]
    if len(bounds) < 2 or not wins:
        return []
    lines = []
    for judge in dict.fromkeys(str(r["judge"]) for r in wins):
        of = [r for r in wins if r["judge"] == judge]
        xs = [bounds[r["model"]] for r in of]
        lines.append(Series(name=judge.replace("_", " "), xs=xs, ys=[r["value"] for r in of]))
    names = [line.name for line in lines]
    return [("best of N: win rate over the KL bound", line_chart(lines, x_label="nats"), names)]
