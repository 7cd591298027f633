"""Reward against KL over the checkpoints of a run: what was gained, and from where on gamed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlhf.evaluation.bootstrap import Estimate, mean
from rlhf.evaluation.figures import Judge
from rlhf.evaluation.records import Record, by_prompt

_Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Point:
    """A checkpoint, by the judge it was trained on and by one it was not."""

    name: str
    step: int
    kl: Estimate  # nats an answer from the reference
    proxy: Estimate
    held_out: Estimate


@dataclass(frozen=True, kw_only=True)
class Fit:
    """R(d) = d (α - β f(d)) with d = √KL and R the gain over the reference."""

    form: str  # "d(α-βd)" or "d(α-β log d)"
    judge: str  # proxy or held_out
    alpha: float
    beta: float
    r2: float


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """The curve and what it says."""

    proxy: str
    held_out: str
    points: Sequence[Point]  # the reference first, then by step
    fits: Sequence[Fit]
    over_optimized: bool
    best: str  # the checkpoint with the highest held-out score
    says: str  # the verdict in a sentence


def frontier(
    records: Sequence[Record],
    checkpoints: Sequence[tuple[str, int]],
    *,
    proxy: Judge,
    held_out: Judge,
    num_prompts: int,
    seed: int,
    resamples: int,
) -> Frontier:
    """The frontier of checkpoints, given as (name of the model in `records`, step), by step.

    Over-optimised: after the peak of the held-out score a checkpoint lies 2 standard errors of
    the difference (the same prompts, paired) below it, while the proxy is above its value there.
    The first checkpoint is the reference, whose KL from itself is 0.
    """
    how = {"seed": seed, "resamples": resamples}
    points, scores, proxies = [], [], []
    for name, step in checkpoints:
        groups = [group for group in by_prompt(records, name, num_prompts) if group]
        kl = [[record.kl or 0.0 for record in group] for group in groups]
        by_proxy = [[record.scores[proxy.key] for record in group] for group in groups]
        by_held_out = [[record.scores[held_out.key] for record in group] for group in groups]
        points.append(
            Point(
                name=name,
                step=step,
                kl=mean(kl, **how),
                proxy=mean(by_proxy, **how),
                held_out=mean(by_held_out, **how),
            )
        )
        scores.append(np.array([np.mean(group) for group in by_held_out]))
        proxies.append(float(np.mean([np.mean(group) for group in by_proxy])))
    peak, fallen = _peak_and_fall(scores, proxies)
    return Frontier(
        proxy=proxy.key,
        held_out=held_out.key,
        points=points,
        fits=[fit for judge in ("proxy", "held_out") for fit in _fits(points, judge)],
        over_optimized=fallen is not None,
        best=points[peak].name,
        says=_says(points, peak, fallen),
    )


def _peak_and_fall(scores: Sequence[_Array], proxies: Sequence[float]) -> tuple[int, int | None]:
    """Index of the highest held-out score, and of the last checkpoint that is over-optimised."""
    peak = max(range(len(scores)), key=lambda index: float(scores[index].mean()))
    fallen = None
    for later in range(peak + 1, len(scores)):
        difference = scores[later] - scores[peak]
        error = difference.std(ddof=1) / math.sqrt(len(difference)) if len(difference) > 1 else 0
        if difference.mean() < -2 * error and proxies[later] > proxies[peak]:
            fallen = later
    return peak, fallen


def _fits(points: Sequence[Point], judge: str) -> list[Fit]:
    """Both forms by least squares; none of fewer than three checkpoints away from the reference.

    R_bon(d) = d (α - β d) and R_RL(d) = d (α - β log d) of Gao et al. 2022
    (https://arxiv.org/abs/2210.10760, eq. 1 and 2), linear in α and β.
    """
    start: Estimate = getattr(points[0], judge)
    away = [point for point in points[1:] if point.kl.value > 0]
    if len(away) < 3:
        return []
    d = np.sqrt([point.kl.value for point in away])
    gains = np.array([getattr(point, judge).value - start.value for point in away])
    found = []
    for form, bend in (("d(α-βd)", d), ("d(α-β log d)", np.log(d))):
        design = np.stack([d, -d * bend], axis=1)
        (alpha, beta), *_ = np.linalg.lstsq(design, gains, rcond=None)
        left = float(((gains - design @ [alpha, beta]) ** 2).sum())
        spread = float(((gains - gains.mean()) ** 2).sum())
        r2 = 1 - left / spread if spread > 0 else float(left == 0)
        found.append(
            Fit(form=form, judge=judge, alpha=float(alpha), beta=float(beta), r2=float(r2))
        )
    return found


def _says(points: Sequence[Point], peak: int, fallen: int | None) -> str:
    best = points[peak]
    at = f"{best.name} (held-out score {best.held_out.value:.3f}, KL {best.kl.value:.2f})"
    if fallen is None:
        return f"No sign of over-optimisation; the best checkpoint is {at}."
    last = points[fallen]
    return (
        f"Over-optimised: from {at} to {last.name} the proxy rose from {best.proxy.value:.3f} to "
        f"{last.proxy.value:.3f} and the held-out score fell to {last.held_out.value:.3f}; take "
        f"{best.name}."
    )
