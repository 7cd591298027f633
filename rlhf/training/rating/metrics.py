"""Health of a reward model on held-out verdicts and ratings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rlhf.models.axes import Axis
from rlhf.ops.accuracy import auc_with_interval, share_with_interval
from rlhf.training.rating.data import TokenRating, labels_of
from rlhf.training.rating.loss import losses_of
from rlhf.training.reward.config import Objective
from rlhf.training.reward.scores import Scores


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How the probabilities fit held-out verdicts."""

    accuracy: float  # share of responses that P(correct) >= 0.5 classifies correctly
    accuracy_low: float  # 95% interval, clustered by prompt
    accuracy_high: float
    auc: float  # P(a correct response scores above a wrong one); NaN if all are of one kind
    auc_low: float  # 95% interval, clustered by prompt
    auc_high: float
    brier: float  # mean of (P(correct) - verdict)²
    rate: float  # share of correct responses: its Brier score is rate (1 - rate)


@dataclass(frozen=True, kw_only=True)
class Health:
    """How a reward model predicts the labels of held-out responses."""

    loss: float  # mean over the ratings; chance: see `chance`
    chance: float  # loss of the best constant prediction
    rows: int  # responses
    outcome: Outcome | None = None  # of verdicts
    correlations: Mapping[str, float] = field(default_factory=dict)  # by axis; NaN: undefined

    def metrics(self) -> dict[str, float]:
        """The metrics by their names in metrics.jsonl; undefined ones are left out."""
        values = {"eval_loss": self.loss, "eval_rows": float(self.rows)}
        if self.outcome is not None:
            values |= {f"eval_{name}": value for name, value in vars(self.outcome).items()}
        values |= {f"eval_correlation_{axis}": r for axis, r in self.correlations.items()}
        return {name: value for name, value in values.items() if value == value}

    @property
    def text(self) -> str:
        """A line for the terminal."""
        start = f"held-out loss {self.loss:.4f}"
        if self.outcome is not None:
            return f"{start}, AUC {self.outcome.auc:.3f}"
        parts = (f"{axis} r {value:.3f}" for axis, value in self.correlations.items())
        return ", ".join([start, *parts])

    def lines(self) -> dict[str, str]:
        """The metrics for people."""
        lines = {"held-out loss": f"{self.loss:.4f} (a constant: {self.chance:.4f})"}
        if (one := self.outcome) is not None:
            interval = f"{one.auc_low:.3f} to {one.auc_high:.3f}"
            lines["held-out AUC"] = f"{one.auc:.3f} ({interval}, {self.rows} responses)"
            interval = f"{one.accuracy_low:.3f} to {one.accuracy_high:.3f}"
            lines["held-out accuracy at 0.5"] = f"{one.accuracy:.3f} ({interval})"
            constant = one.rate * (1 - one.rate)
            lines["held-out Brier score"] = f"{one.brier:.4f} (a constant: {constant:.4f})"
        for axis, value in self.correlations.items():
            lines[f"held-out correlation, {axis}"] = f"{value:.3f}"
        return lines


def measure(
    scores: Scores, held_out: Sequence[TokenRating], objective: Objective, axes: Sequence[Axis]
) -> Health:
    """The health on `held_out`, at least one response. Call it on all processes."""
    predicted = response_scores(scores, held_out)
    labels = labels_of(held_out)
    losses, rated = losses_of(predicted, labels, objective), ~labels.isnan()
    loss = float(losses.sum() / rated.sum().clamp(min=1))
    if objective == "outcome":
        outcome = _outcome(predicted[:, 0], labels[:, 0], held_out)
        rate = torch.tensor(outcome.rate)
        chance = float(torch.special.entr(torch.stack([rate, 1 - rate])).sum())
        return Health(loss=loss, chance=chance, rows=len(held_out), outcome=outcome)
    means = torch.where(rated, labels, 0.0).sum(0) / rated.sum(0).clamp(min=1)
    constant = losses_of(means.expand_as(labels), labels, objective)
    return Health(
        loss=loss,
        chance=float(constant.sum() / rated.sum().clamp(min=1)),
        rows=len(held_out),
        correlations={
            axis.name: correlation(predicted[:, place], labels[:, place])
            for place, axis in enumerate(axes)
        },
    )


def response_scores(scores: Scores, rows: Sequence[TokenRating]) -> Tensor:
    """Raw outputs of all heads, float [B, A], read by all processes together."""
    return scores.read_together([row.ids for row in rows], title="held-out responses")


def correlation(predicted: Tensor, labels: Tensor) -> float:
    """Pearson's r over the labels that are not NaN; NaN if one of the two is constant."""
    rated = ~labels.isnan()
    x, y = predicted[rated].double(), labels[rated].double()
    if len(x) < 2:
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / (x.square().sum() * y.square().sum()).sqrt())


def _outcome(scores: Tensor, labels: Tensor, rows: Sequence[TokenRating]) -> Outcome:
    probabilities, correct = scores.double().sigmoid(), labels > 0.5
    numbers: dict[str, int] = {}
    groups = torch.tensor([numbers.setdefault(row.group, len(numbers)) for row in rows])
    hits = ((probabilities >= 0.5) == correct).float()
    zeros = torch.zeros(len(numbers))
    accuracy, low, high = share_with_interval(
        zeros.index_add(0, groups, hits), zeros.index_add(0, groups, torch.ones(len(rows)))
    )
    auc, auc_low, auc_high = auc_with_interval(scores, correct, groups)
    return Outcome(
        accuracy=accuracy,
        accuracy_low=low,
        accuracy_high=high,
        auc=auc,
        auc_low=auc_low,
        auc_high=auc_high,
        brier=float((probabilities - correct.double()).square().mean()),
        rate=float(correct.double().mean()),
    )
