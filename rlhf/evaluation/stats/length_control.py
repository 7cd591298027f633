"""Length-controlled win rates, as the AlpacaEval 2 leaderboard prints them.

Dubois et al. 2024 (https://arxiv.org/abs/2404.04475) fit a logistic regression to the comparisons
of each model with the baseline:

    P(win) = σ(θ + φ tanh(Δ/s) + ψ γ)

Δ is the length of the response minus that of the baseline's, s its standard deviation over the
comparisons, γ the difficulty of the prompt. The length-controlled win rate is the mean of
σ(θ + ψ γ) over the prompts: the length term is left out.

φ is regularised. They add, with 20% of the weight, comparisons of the baseline with itself when it
is told to be verbose and to be concise, which have no θ: the model's taste for length is drawn
towards that of the judge, as it shows in responses that differ in nothing else. Those comparisons
are here two for each of the model's, with tanh(Δ/s) = ±`STEP` and P(win) = σ(±`TASTE` · `STEP`).
`TASTE` was chosen on 20 models of the leaderboard (docs/research/evaluation.md has the
cross-validation). They select an L1 penalty in addition; it is left out.

γ is estimated from several models, if there are several (`prompt_difficulty`). For one model alone
the log of the baseline's length is used in its place: a prompt that gets long responses is another
prompt than one that gets a sentence. Without it φ takes the effect of the baseline's length, which
all models share, and the correction is too large; the taste then gets the weight of the comparisons
themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlhf.evaluation.stats.bootstrap import RESAMPLES, Estimate, estimate_of, rate, resampled_counts
from rlhf.evaluation.stats.length_regression import (
    Array,
    Comparisons,
    Groups,
    Index,
    LengthRegression,
    check_shape,
    compared,
    design,
    flat,
    has_no_fit,
    sigmoid,
    without_length,
)
from rlhf.evaluation.stats.prompt_difficulty import prompt_difficulty

TASTE = 1.0  # φ of a judge of AlpacaEval 2: log-odds per unit of tanh(Δ/s)
STEP = 0.63  # root mean square of tanh of a standard normal variable
WEIGHT = 0.2  # of the comparisons that hold the taste, of the weight of the model's
WEIGHT_ALONE = 1.0  # if neither difficulty nor the baseline's length is known
FEWEST_MODELS = 10  # from which difficulty is estimated; with fewer it is noise of the models' own


def length_controlled_win_rates(
    wins: Sequence[Groups],
    differences: Sequence[Groups],
    baseline_lengths: Sequence[Groups] | None = None,
    *,
    taste: float = TASTE,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> list[Estimate]:
    """`length_controlled_win_rate` of several models that were compared with one baseline.

    With ten models or more the difficulty of each prompt is estimated from all of them.

    Args:
        wins: [models][prompts][comparisons], as for one model; the prompts are the same for all.
        differences: of each comparison.
        baseline_lengths: of each comparison, or None.
        taste: as for one model.
        seed: for the resamples.
        resamples: their number.

    Raises:
        ValueError: a model has no comparison, or the shapes differ.
    """
    difficulty = None
    if len(wins) >= FEWEST_MODELS:
        difficulty = prompt_difficulty(wins, differences)
    lengths: Sequence[Groups | None] = baseline_lengths or [None] * len(wins)
    return [
        length_controlled_win_rate(
            of_wins,
            of_differences,
            of_lengths,
            difficulty=difficulty,
            taste=taste,
            seed=seed,
            resamples=resamples,
        )
        for of_wins, of_differences, of_lengths in zip(wins, differences, lengths, strict=True)
    ]


def length_controlled_win_rate(
    wins: Groups,
    differences: Groups,
    baseline_lengths: Groups | None = None,
    *,
    difficulty: Sequence[float] | None = None,
    taste: float = TASTE,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Estimate:
    """The win rate of one model with the length term of the regression left out.

    Intervals: each resample of prompts takes one Newton step from the fit to all prompts, which is
    exact to first order. Difficulties are taken as known. If all comparisons are won, or none, or
    there is one prompt, the win rate is 1, 0 or that of the prompt, with the interval of `rate`.

    Args:
        wins: of each comparison, from 0 to 1; a probability if the judge gives one.
        differences: length of the response minus that of the baseline's, in any unit.
        baseline_lengths: length of the baseline's response; None if it is not known.
        difficulty: γ of each prompt, in place of the baseline's length; in any unit.
        taste: φ that the model's own is drawn towards; the default is that of AlpacaEval 2's judge.
        seed: for the resamples.
        resamples: their number.

    Raises:
        ValueError: there is nothing to compare, the shapes differ, a win is outside [0, 1], or a
            length or difficulty is not finite.
    """
    rows = _comparisons(wins, differences, baseline_lengths, difficulty)
    if has_no_fit(rows.wins, int(rows.prompt.max()) + 1):
        return rate(wins, seed=seed, resamples=resamples)
    fit, test = LengthRegression.of(with_taste(rows, taste)), _Test.of(rows)
    draws = [
        test.win_rates(fit.step(counts), counts)
        for counts in resampled_counts(fit.num_prompts, seed=seed, resamples=resamples)
    ]
    value = float(test.win_rates(fit.beta[None], np.ones((1, fit.num_prompts)))[0])
    return estimate_of(value, np.concatenate(draws), n=fit.num_prompts, num_answers=len(rows.wins))


def with_taste(rows: Comparisons, taste: float) -> Comparisons:
    """The comparisons and those that hold the taste for length, two for each.

    The latter have no intercept: the two responses differ in length alone.
    """
    weight = WEIGHT if rows.x.shape[1] > 2 else WEIGHT_ALONE
    longer = rows.x.copy()
    longer[:, 0], longer[:, 1] = 0.0, STEP
    shorter = longer.copy()
    shorter[:, 1] = -STEP
    won, ones = float(sigmoid(np.array(taste * STEP))), np.ones_like(rows.wins)
    return Comparisons(
        x=np.concatenate([rows.x, longer, shorter]),
        wins=np.concatenate([rows.wins, won * ones, (1 - won) * ones]),
        weights=np.concatenate([rows.weights, *[weight / 2 * rows.weights] * 2]),
        prompt=np.tile(rows.prompt, 3),
    )


def _comparisons(
    wins: Groups,
    differences: Groups,
    baseline_lengths: Groups | None,
    difficulty: Sequence[float] | None,
) -> Comparisons:
    """The rows of the prompts that have a comparison."""
    used, y, d = compared(wins, differences)
    prompt = np.repeat(np.arange(len(used)), [len(wins[p]) for p in used])
    known: Array | None = None
    if difficulty is not None:
        if len(difficulty) != len(wins):
            raise ValueError(f"{len(difficulty)} difficulties of {len(wins)} prompts")
        known = np.asarray(difficulty, dtype=np.float64)[used][prompt]
    elif baseline_lengths is not None:
        check_shape(wins, baseline_lengths, "lengths of the baseline")
        known = _log_lengths(flat(baseline_lengths, used))
    if known is not None and not np.isfinite(known).all():
        raise ValueError("a difficulty or a length of the baseline is not finite")
    spread = float(d.std(ddof=1)) if len(d) > 1 else 0.0
    return Comparisons(
        x=design(d, known, spread=spread), wins=y, weights=np.ones_like(y), prompt=prompt
    )


def _log_lengths(lengths: Array) -> Array:
    if not (lengths >= 0).all():
        raise ValueError("a length of the baseline is below 0 or not a number")
    logs: Array = np.log1p(lengths)
    return logs


@dataclass(frozen=True, kw_only=True)
class _Test:
    """The different rows without the length term: comparisons of one prompt often have the same."""

    x: Array  # [U, k]
    prompt: Index  # [U]
    counts: Array  # [U] comparisons with this row

    @classmethod
    def of(cls, rows: Comparisons) -> "_Test":
        """The rows to predict."""
        columns = np.column_stack([rows.prompt, without_length(rows.x)])
        unique, counts = np.unique(columns, axis=0, return_counts=True)
        return cls(
            x=unique[:, 1:],
            prompt=unique[:, 0].astype(np.int64),
            counts=counts.astype(np.float64),
        )

    def win_rates(self, beta: Array, counts: Array) -> Array:
        """[B] mean of σ(θ + ψγ) over the comparisons of each resample."""
        weights = counts[:, self.prompt] * self.counts
        rates: Array = (sigmoid(beta @ self.x.T) * weights).sum(1) / weights.sum(1)
        return rates
