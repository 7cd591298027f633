"""Charts of the metrics that a stage logged."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from rlhf.report.charts import Series, line_chart
from rlhf.report.plateau import Plateau, plateau
from rlhf.report.read import Row, StageView

# (title, metrics that share its axes), in the order of the page.
CURVES = (
    ("loss", ("loss", "eval_loss")),
    ("held-out accuracy", ("eval_accuracy",)),
    ("score", ("score", "eval_score")),
    ("KL from the reference, nats per response", ("kl", "kl_k3", "eval_kl")),
    ("response length, tokens", ("response_length",)),
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
    """A chart of one or several metrics."""

    title: str
    chart: Markup
    names: Sequence[str]  # of its lines
    note: str  # the plateau of a loss, or the best checkpoint of a score


def curves(stage: StageView) -> list[Curve]:
    """A curve for every logged metric of `CURVES`."""
    drawn: list[Curve] = []
    for title, names in CURVES:
        lines = [line for name in names if (line := _series(stage.metrics, name)).xs]
        if not lines:
            continue
        loss_plateau = _plateau(lines) if title == "loss" else None
        note = f"{loss_plateau.summary}." if loss_plateau else ""
        drawn.append(
            Curve(
                title=title,
                chart=line_chart(lines, mark=loss_plateau.step if loss_plateau else None),
                names=[line.name for line in lines],
                note=best_note(stage.best) if title == "score" else note,
            )
        )
    return drawn


def best_note(best: Row) -> str:
    """Which step PPO's best/ is; empty if there is none, or its file is incomplete."""
    step, score, kl = (best.get(name) for name in ("step", "eval_score", "eval_kl"))
    if not (isinstance(score, float) and isinstance(kl, float)):
        return ""
    return f"best/ is step {step}: eval_score {score:.3f} at a KL of {kl:.2f} nats."


def _plateau(lines: Sequence[Series]) -> Plateau | None:
    """The plateau of the held-out loss if it has enough points, else of the training loss."""
    by_name = {line.name: line for line in lines}
    for name in ("eval_loss", "loss"):
        if name in by_name:
            line = by_name[name]
            if own := plateau(line.xs, line.ys, held_out=name == "eval_loss"):
                return replace(own, summary=f"{name.replace('_', ' ')}: {own.summary}")
    return None


def _series(metrics: Sequence[Row], name: str) -> Series:
    points = [
        (float(row["step"]), float(row[name]))
        for row in metrics
        if isinstance(row.get(name), int | float) and isinstance(row.get("step"), int | float)
    ]
    # A metric without a value yet is NaN; neither charts nor plateaus can use that.
    points = [point for point in points if all(map(math.isfinite, point))]
    return Series(name=name, xs=[x for x, _ in points], ys=[y for _, y in points])
