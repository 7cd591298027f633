"""Means over seeds and prompts, with intervals that take both as random.

Every seed's policy answers the same prompts: seeds and prompts are crossed. A run whose seed was
lucky is better on many prompts at once, so its prompts are not independent observations of the
method. An interval over prompts alone says how certain one trained policy is, not the method. The
estimate below is that of studies in which several readers judge the same cases (Dorfman, Berbaum
& Metz 1992; Hillis 2007, https://doi.org/10.1002/sim.2532), with a seed for a reader.
"""

import math

import numpy as np
from numpy.typing import NDArray

from rlhf.evaluation.stats.bootstrap import Estimate

Table = NDArray[np.float64]  # [seeds, prompts]


def crossed_mean(table: Table, *, level: float = 0.95) -> Estimate:
    """Mean of a table [S, P] of seeds and prompts, with a two-sided interval of Student's t.

        x_sp = μ + a_s + b_p + e_sp
        MS_a = P Σ_s (x_s. - x..)² / (S-1),  MS_b = S Σ_p (x_.p - x..)² / (P-1),
        MS_e = Σ_sp (x_sp - x_s. - x_.p + x..)² / ((S-1)(P-1))
        Var(x..) = (MS_a + max(MS_b - MS_e, 0)) / (S P)

    The degrees of freedom are Satterthwaite's, from those of the mean squares in the sum: about
    S - 1 if the seeds make the difference, about P - 1 if the prompts do. The interval is never
    narrower than that over prompts alone, Var = MS_b / (S P) with P - 1 degrees of freedom: the
    means of two seeds may be equal by chance. With one seed the spread between seeds is unknown,
    and the interval is the one over prompts.

    Args:
        table: float [S, P], finite, at least two prompts.
        level: of the interval.

    Raises:
        ValueError: fewer than two prompts, or a value that is not finite.
    """
    seeds, prompts = table.shape
    if prompts < 2 or not np.isfinite(table).all():
        raise ValueError(
            f"a table {table.shape} of finite values and two prompts or more is needed"
        )
    value = float(table.mean())
    half, error, freedom = max(
        (_quantile(freedom, level) * math.sqrt(variance), math.sqrt(variance), freedom)
        for variance, freedom in _variances(table)
    )
    return Estimate(
        value=value,
        low=value - half,
        high=value + half,
        n=prompts,
        num_answers=seeds * prompts,
        se=error,
        level=level,
        freedom=freedom,
    )


def _variances(table: Table) -> list[tuple[float, float]]:
    """Variance of the mean and its degrees of freedom: by the prompts alone, and by both."""
    seeds, prompts = table.shape
    by_seed, by_prompt, mean = table.mean(1), table.mean(0), table.mean()
    of_prompts = seeds * float(((by_prompt - mean) ** 2).sum()) / (prompts - 1)
    alone = (of_prompts / (seeds * prompts), prompts - 1.0)
    if seeds == 1:
        return [alone]
    of_seeds = prompts * float(((by_seed - mean) ** 2).sum()) / (seeds - 1)
    rest = table - by_seed[:, None] - by_prompt[None, :] + mean
    of_rest = float((rest**2).sum()) / ((seeds - 1) * (prompts - 1))
    terms = [(of_seeds, seeds - 1.0)]
    if of_prompts > of_rest:
        terms += [(of_prompts, prompts - 1.0), (-of_rest, (seeds - 1.0) * (prompts - 1.0))]
    total = sum(term for term, _ in terms)
    if total <= 0:
        return [alone]
    freedom = total**2 / sum(term**2 / df for term, df in terms)
    return [alone, (total / (seeds * prompts), freedom)]


def _quantile(freedom: float, level: float) -> float:
    """The quantile of Student's t for a two-sided interval."""
    from scipy.special import stdtrit  # half a second

    return float(stdtrit(freedom, (1 + level) / 2))
