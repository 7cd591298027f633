"""Reward against KL over the checkpoints of a run, and a test for over-optimisation."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from rlhf.evaluation.core.metrics import Judge
from rlhf.evaluation.core.records import Record, by_prompt
from rlhf.evaluation.stats.bootstrap import Estimate, mean

STANDARD_ERRORS = 2.0  # fall of the held-out score below its peak that counts at least
ROUNDING = 1e-9  # falls of the mean up to this size are rounding
PLATEAUS = 500  # simulated plateaus, to measure how far scores fall by chance
MIN_POINTS = 4  # of a fit with two parameters; any curve fits three points well
_Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Point:
    """A checkpoint, scored by the judge it was trained on and by another judge."""

    name: str
    step: int
    kl: Estimate  # nats per response from the reference
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
    n: int  # number of fitted checkpoints


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """The curve and the verdict on over-optimisation."""

    proxy: str
    held_out: str
    points: Sequence[Point]  # the reference first, then by step
    fits: Sequence[Fit]
    over_optimized: bool
    best: str  # the checkpoint with the highest held-out score
    says: str  # the verdict in a sentence


def content_of(frontier: Frontier) -> dict[str, object]:
    """The frontier as an object of JSON."""
    points = [
        {
            "name": point.name,
            "step": point.step,
            "kl": point.kl.content,
            "proxy": point.proxy.content,
            "held_out": point.held_out.content,
        }
        for point in frontier.points
    ]
    return {**asdict(frontier), "points": points}


def make_frontier(
    records: Sequence[Record],
    checkpoints: Sequence[tuple[str, int]],
    *,
    proxy: Judge,
    held_out: Judge,
    num_prompts: int,
    seed: int,
    resamples: int,
) -> Frontier:
    """The frontier of a run.

    A run is over-optimised if, at a checkpoint after the peak of the held-out score, this score is
    2 standard errors of the difference (paired by prompt) below the peak, while the proxy is above
    its value at the peak. Of many checkpoints on a plateau, one is that far below the luckiest by
    chance. The fall therefore has to exceed what occurs in 95 of 100 simulated plateaus.

    Args:
        records: scored responses of all checkpoints.
        checkpoints: (name of the model in `records`, step), by step; the first one is the
            reference, whose KL from itself is 0.
        proxy: the judge that PPO was trained on.
        held_out: a judge that it was not trained on.
        num_prompts: prompts of the evaluation.
        seed: for the bootstrap and the plateaus.
        resamples: of the bootstrap.
    """
    options = {"seed": seed, "resamples": resamples}
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
                kl=mean(kl, **options),
                proxy=mean(by_proxy, **options),
                held_out=mean(by_held_out, **options),
            )
        )
        scores.append(np.array([np.mean(group) for group in by_held_out]))
        proxies.append(float(np.mean([np.mean(group) for group in by_proxy])))
    peak, fallen = _peak_and_fall(scores, proxies, seed)
    return Frontier(
        proxy=proxy.key,
        held_out=held_out.key,
        points=points,
        fits=[fit for judge in ("proxy", "held_out") for fit in _fits(points, judge)],
        over_optimized=fallen is not None,
        best=points[peak].name,
        says=_verdict(points, peak, fallen),
    )


def summary_lines(frontier: Frontier) -> list[str]:
    """A line per checkpoint, a line per fit, and the verdict."""
    points = [
        f"{point.name}: KL {_brief(point.kl)}, {frontier.proxy} {_brief(point.proxy)}, "
        f"{frontier.held_out} {_brief(point.held_out)}"
        for point in frontier.points
    ]
    fits = [
        f"{fit.judge}: {fit.form} with α {fit.alpha:.3g}, β {fit.beta:.3g}, R² {fit.r2:.2f} "
        f"over {fit.n} checkpoints"
        for fit in frontier.fits
    ]
    return [*points, *fits, frontier.says]


def _brief(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


def _peak_and_fall(
    scores: Sequence[_Array], proxies: Sequence[float], seed: int
) -> tuple[int, int | None]:
    """Index of the highest held-out score, and of the last over-optimised checkpoint, or None.

    scores: [prompts] of each checkpoint.
    """
    table = np.stack(scores)
    errors = _errors(table)
    threshold = _fall_by_chance(table, errors, proxies, seed)
    means = table.mean(1)
    peak, falls = _falls(means, errors, proxies)
    fallen = [later for later, fall in falls if fall > threshold]
    return peak, max(fallen, default=None)


def _falls(
    means: _Array, errors: _Array, proxies: Sequence[float]
) -> tuple[int, list[tuple[int, float]]]:
    """The peak, and by how many standard errors later checkpoints with a higher proxy are below it.

    Falls are (index of the checkpoint, standard errors).
    """
    peak = int(means.argmax())
    falls = []
    for later in range(peak + 1, len(means)):
        fall = float(means[peak] - means[later])
        if fall > ROUNDING and proxies[later] > proxies[peak]:
            error = float(errors[peak, later])
            falls.append((later, fall / error if error > 0 else math.inf))
    return peak, falls


def _errors(table: _Array) -> _Array:
    """[K, K] standard errors of the differences of K checkpoints' means, paired by prompt."""
    prompts = table.shape[1]
    if prompts < 2:
        return np.zeros((len(table), len(table)))
    spread = (table[:, None, :] - table[None, :, :]).std(axis=2, ddof=1)
    errors: _Array = spread / math.sqrt(prompts)
    return errors


def _fall_by_chance(table: _Array, errors: _Array, proxies: Sequence[float], seed: int) -> float:
    """The fall in standard errors that 95% of plateaus stay below; at least `STANDARD_ERRORS`.

    A plateau consists of these checkpoints, each shifted to the same mean, with resampled prompts
    (as in Westfall & Young 1993, which takes the number of checkpoints and their correlation into
    account).
    """
    rng = np.random.default_rng(seed)
    prompts = table.shape[1]
    level = table - table.mean(1, keepdims=True)
    counts = rng.multinomial(prompts, np.full(prompts, 1 / prompts), size=PLATEAUS)
    worst = [
        max((fall for _, fall in _falls(means, errors, proxies)[1]), default=0.0)
        for means in counts @ level.T / prompts
    ]
    return max(STANDARD_ERRORS, float(np.quantile(worst, 0.95)))


def _fits(points: Sequence[Point], judge: str) -> list[Fit]:
    """Both forms by least squares, from at least `MIN_POINTS` checkpoints apart from the reference.

    Empty if all have the same distance: then α and β cannot be identified.

    R_bon(d) = d (α - β d) and R_RL(d) = d (α - β log d) of Gao et al. 2022
    (https://arxiv.org/abs/2210.10760, eq. 1 and 2), linear in α and β.
    """
    start: Estimate = getattr(points[0], judge)
    away = [point for point in points[1:] if point.kl.value > 0]
    if len(away) < MIN_POINTS:
        return []
    d = np.sqrt([point.kl.value for point in away])
    gains = np.array([getattr(point, judge).value - start.value for point in away])
    fits = []
    for form, bend in (("d(α-βd)", d), ("d(α-β log d)", np.log(d))):
        design = np.stack([d, -d * bend], axis=1)
        (alpha, beta), _, rank, _ = np.linalg.lstsq(design, gains, rcond=1e-6)
        if rank < 2:
            continue
        residual = float(((gains - design @ [alpha, beta]) ** 2).sum())
        spread = float(((gains - gains.mean()) ** 2).sum())
        r2 = 1 - residual / spread if spread > 0 else float(residual == 0)
        parameters = {"alpha": float(alpha), "beta": float(beta), "r2": float(r2)}
        fits.append(Fit(form=form, judge=judge, n=len(away), **parameters))
    return fits


def _verdict(points: Sequence[Point], peak: int, fallen: int | None) -> str:
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
