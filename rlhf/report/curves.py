"""Curves of what a stage logged, one chart a figure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from rlhf.report.charts import Series, line_chart
from rlhf.report.plateau import Plateau, plateau
from rlhf.report.read import Row, StageView

# One chart each, in this order; names of one line share the axes.
CURVES = (
    ("loss", ("loss", "eval_loss")),
    ("held-out accuracy", ("eval_accuracy",)),
    ("score", ("score", "eval_score")),
    ("KL, nats per answer", ("kl", "kl_k3", "eval_kl")),
    ("answer length, tokens", ("response_length",)),
    ("share that ends with EOS", ("eos_rate",)),
    ("entropy, nats per token", ("entropy",)),
    ("clip fraction", ("clip_fraction", "value_clip_fraction")),
    ("explained variance", ("explained_variance",)),
    ("value loss", ("value_loss",)),
    ("gradient norm", ("grad_norm", "value_grad_norm")),
    ("KL coefficient", ("kl_coef",)),
    ("learning rate", ("learning_rate",)),
    ("seconds per step", ("seconds_rollout", "seconds_score", "seconds_update")),
)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A chart of what a stage logged."""

    title: str
    chart: Markup
    names: Sequence[str]  # of its lines
    says: str  # of a loss: where it is flat, whether more steps would pay; of a score: the best


def curves(stage: StageView) -> list[Curve]:
    """Every figure that the stage logged."""
    found: list[Curve] = []
    for title, names in CURVES:
        lines = [line for name in names if (line := _series(stage.metrics, name)).xs]
        if not lines:
            continue
        said = _plateau(lines) if title == "loss" else None
        chart = line_chart(lines, mark=said.step if said else None)
        says = best(stage.best) if title == "score" else f"{said.says}." if said else ""
        found.append(
            Curve(
                title=title,
                chart=chart,
                names=[line.name for line in lines],
                says=says,
            )
        )
    return found


def best(figures: Row) -> str:
    """What PPO kept in best/; nothing where it kept nothing, or the file is cut short."""
    step, score, kl = (figures.get(name) for name in ("step", "eval_score", "eval_kl"))
    if not (isinstance(score, float) and isinstance(kl, float)):
        return ""
    return f"best/ holds step {step}: eval_score {score:.3f} at {kl:.2f} nats from the start."


def _plateau(lines: Sequence[Series]) -> Plateau | None:
    """Of the held-out loss where there are points enough, else of the training loss."""
    by_name = {line.name: line for line in lines}
    for name in ("eval_loss", "loss"):
        if name in by_name:
            line = by_name[name]
            if said := plateau(line.xs, line.ys, held_out=name == "eval_loss"):
                return replace(said, says=f"{name.replace('_', ' ')}: {said.says}")
    return None


def _series(metrics: Sequence[Row], name: str) -> Series:
    points = [
        (float(row["step"]), float(row[name]))
        for row in metrics
        if isinstance(row.get(name), int | float) and isinstance(row.get("step"), int | float)
    ]
    # A figure may be NaN where it has no value yet; neither a chart nor a plateau can hold it.
    points = [point for point in points if all(map(math.isfinite, point))]
    return Series(name=name, xs=[x for x, _ in points], ys=[y for _, y in points])
