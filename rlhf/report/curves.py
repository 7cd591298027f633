"""Charts of the metrics that a stage logged."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from rlhf.report.charts import Series, line_chart
from rlhf.report.plateau import Plateau, plateau
from rlhf.report.read import Row, StageView

LOGPROBS = "log-prob of held-out responses, nats"
CHOSEN_AND_REJECTED = ("eval_chosen_logprob", "eval_rejected_logprob")
UP_AND_DOWN = ("eval_desirable_logprob", "eval_undesirable_logprob")
SMALL_FALL = 0.5  # nats per response; a smaller fall is not explained
# (title, metrics that share its axes), in the order of the page.
CURVES = (
    ("loss", ("loss", "eval_loss")),
    ("held-out accuracy", ("eval_accuracy",)),
    ("reward margin of pairs", ("reward_margin", "eval_reward_margin")),
    ("implicit reward of responses", ("eval_chosen_reward", "eval_rejected_reward")),
    ("implicit reward of thumbs", ("eval_desirable_reward", "eval_undesirable_reward")),
    (LOGPROBS, CHOSEN_AND_REJECTED),
    (f"{LOGPROBS}, up and down", UP_AND_DOWN),
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
        drawn.append(
            Curve(
                title=title,
                chart=line_chart(lines, mark=loss_plateau.step if loss_plateau else None),
                names=[line.name for line in lines],
                note=_note(title, lines, loss_plateau, stage.best),
            )
        )
    return drawn


def _note(title: str, lines: Sequence[Series], loss_plateau: Plateau | None, best: Row) -> str:
    """The sentence under a chart; empty for most."""
    if title == "score":
        return best_note(best)
    if title == LOGPROBS:
        return fall_note(lines)
    return f"{loss_plateau.summary}." if loss_plateau else ""


def fall_note(lines: Sequence[Series]) -> str:
    """What it means that both kinds of responses became less likely; empty where they did not.

    lines: the log-probs of chosen and rejected responses.
    """
    if [line.name for line in lines] != list(CHOSEN_AND_REJECTED):
        return ""
    chosen, rejected = (line.ys[-1] - line.ys[0] for line in lines)
    if max(chosen, rejected) > -SMALL_FALL:
        return ""
    return (
        f"Chosen responses lost {-chosen:.1f} nats, rejected ones {-rejected:.1f}. The loss asks "
        "only for a difference, so both may fall: their probability moves to responses that are "
        "in no pair. Read samples; a larger beta, fewer steps or sft_coef limit the fall."
    )


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
