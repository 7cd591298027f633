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
from numpy.typing import NDArray

from rlhf.evaluation.stats.bootstrap import RESAMPLES, Estimate, estimate_of, resampled_counts
from rlhf.evaluation.stats.equal_length import sigmoid
from rlhf.evaluation.stats.prompt_difficulty import prompt_difficulty

TASTE = 1.0  # φ of a judge of AlpacaEval 2: log-odds per unit of tanh(Δ/s)
STEP = 0.63  # root mean square of tanh of a standard normal variable
WEIGHT = 0.2  # of the comparisons that hold the taste, of the weight of the model's
WEIGHT_ALONE = 1.0  # if neither difficulty nor the baseline's length is known
FEWEST_MODELS = 10  # from which difficulty is estimated; with fewer it is noise of the models' own
LIMIT = 14.0  # of a coefficient: a model that always wins has θ = ∞
_STEPS = 60
_Array = NDArray[np.float64]
_Index = NDArray[np.int64]
Groups = Sequence[Sequence[float]]
"""[prompts][comparisons] of one model."""


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
    exact to first order. Difficulties are taken as known.

    Args:
        wins: of each comparison, from 0 to 1; a probability if the judge gives one.
        differences: length of the response minus that of the baseline's, in any unit.
        baseline_lengths: length of the baseline's response; None if it is not known.
        difficulty: γ of each prompt, in place of the baseline's length; in any unit.
        taste: φ that the model's own is drawn towards; the default is that of AlpacaEval 2's judge.
        seed: for the resamples.
        resamples: their number.

    Raises:
        ValueError: there is nothing to compare, or the shapes differ.
    """
    fit = _Fit.of(_comparisons(wins, differences, baseline_lengths, difficulty), taste)
    draws = [
        fit.win_rates(fit.step(counts), counts)
        for counts in resampled_counts(fit.num_prompts, seed=seed, resamples=resamples)
    ]
    everything = np.ones((1, fit.num_prompts))
    value = float(fit.win_rates(fit.beta[None], everything)[0])
    num_answers = int(fit.test_counts.sum())
    return estimate_of(value, np.concatenate(draws), n=fit.num_prompts, num_answers=num_answers)


@dataclass(frozen=True, kw_only=True)
class _Comparisons:
    """Comparisons as rows: intercept, tanh(Δ/s) and, if there is one, the prompt's difficulty."""

    x: _Array  # [n, 2 or 3]
    wins: _Array  # [n]
    prompt: _Index  # [n], numbered without gaps


def _comparisons(
    wins: Groups,
    differences: Groups,
    baseline_lengths: Groups | None,
    difficulty: Sequence[float] | None,
) -> _Comparisons:
    """The rows of the prompts that have a comparison."""
    used = [p for p in range(len(wins)) if len(wins[p])]
    if not used:
        raise ValueError("nothing to compare: no prompt has a comparison")
    y, d = _flat(wins, used), _flat(differences, used)
    if len(wins) != len(differences) or y.shape != d.shape:
        raise ValueError(f"{len(y)} wins and {len(d)} differences")
    prompt = np.repeat(np.arange(len(used)), [len(wins[p]) for p in used])
    spread = d.std(ddof=1) if len(d) > 1 else 0.0
    columns = [np.ones_like(d), np.tanh(d / spread) if spread > 0 else np.zeros_like(d)]
    if difficulty is not None:
        columns += _centred(np.asarray(difficulty, dtype=np.float64)[used][prompt])
    elif baseline_lengths is not None:
        columns += _centred(np.log1p(_flat(baseline_lengths, used)))
    return _Comparisons(x=np.stack(columns, axis=1), wins=y, prompt=prompt)


def _flat(groups: Groups, used: Sequence[int]) -> _Array:
    return np.concatenate([np.asarray(groups[p], dtype=np.float64) for p in used])


def _centred(values: _Array) -> list[_Array]:
    """The values with mean 0 and standard deviation 1 as a column; none if they are constant."""
    spread = values.std()
    return [(values - values.mean()) / spread] if spread > 1e-12 else []


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """Coefficients of all prompts, and what a resample of prompts needs to change them."""

    beta: _Array  # [k]
    gradients: _Array  # [P, k] of each prompt's log-likelihood at beta
    hessians: _Array  # [P, k, k]
    test: _Array  # [U, k] different rows without the length term
    test_prompt: _Index  # [U]
    test_counts: _Array  # [U] comparisons with this row

    @classmethod
    def of(cls, comparisons: _Comparisons, taste: float) -> "_Fit":
        """The fit by Newton's method."""
        x, y, weights, prompt = _with_taste(comparisons, taste)
        beta = np.zeros(x.shape[1])
        for _ in range(_STEPS):
            p = sigmoid(x @ beta)
            hessian = (x * (weights * p * (1 - p))[:, None]).T @ x + _tiny(len(beta))
            step = np.linalg.solve(hessian, x.T @ (weights * (y - p)))
            beta = np.clip(beta + np.clip(step, -2.0, 2.0), -LIMIT, LIMIT)
            if np.abs(step).max() < 1e-9:
                break
        p = sigmoid(x @ beta)
        num_prompts, k = int(prompt.max()) + 1, x.shape[1]
        gradients, hessians = np.zeros((num_prompts, k)), np.zeros((num_prompts, k, k))
        outer = x[:, :, None] * x[:, None, :]
        np.add.at(gradients, prompt, x * (weights * (y - p))[:, None])
        np.add.at(hessians, prompt, (weights * p * (1 - p))[:, None, None] * outer)
        # Comparisons of a prompt with the same difficulty have the same prediction.
        without_length = comparisons.x * np.where(np.arange(k) == 1, 0.0, 1.0)
        rows, counts = np.unique(
            np.column_stack([comparisons.prompt, without_length]), axis=0, return_counts=True
        )
        return cls(
            beta=beta,
            gradients=gradients,
            hessians=hessians,
            test=rows[:, 1:],
            test_prompt=rows[:, 0].astype(np.int64),
            test_counts=counts.astype(np.float64),
        )

    @property
    def num_prompts(self) -> int:
        """Prompts with a comparison."""
        return len(self.gradients)

    def step(self, counts: _Array) -> _Array:
        """[B, k] coefficients after a Newton step on each resample of prompts [B, P]."""
        hessians = np.einsum("bp,pij->bij", counts, self.hessians) + _tiny(len(self.beta))
        steps = np.linalg.solve(hessians, (counts @ self.gradients)[:, :, None])[:, :, 0]
        moved: _Array = self.beta + steps
        return moved

    def win_rates(self, beta: _Array, counts: _Array) -> _Array:
        """[B] mean of σ(θ + ψγ) over the comparisons of each resample."""
        weights = counts[:, self.test_prompt] * self.test_counts
        rates: _Array = (sigmoid(beta @ self.test.T) * weights).sum(1) / weights.sum(1)
        return rates


def _with_taste(comparisons: _Comparisons, taste: float) -> tuple[_Array, _Array, _Array, _Index]:
    """x, y, weights and prompts of the comparisons and of those that hold the taste for length.

    The latter have no intercept: the two responses differ in length alone.
    """
    n, k = comparisons.x.shape
    weight = WEIGHT if k > 2 else WEIGHT_ALONE
    longer = comparisons.x.copy()
    longer[:, 0], longer[:, 1] = 0.0, STEP
    shorter = longer.copy()
    shorter[:, 1] = -STEP
    won = float(sigmoid(np.array(taste * STEP)))
    return (
        np.concatenate([comparisons.x, longer, shorter]),
        np.concatenate([comparisons.wins, np.full(n, won), np.full(n, 1 - won)]),
        np.concatenate([np.ones(n), np.full(2 * n, weight / 2)]),
        np.tile(comparisons.prompt, 3),
    )


def _tiny(k: int) -> _Array:
    tiny: _Array = 1e-9 * np.eye(k)
    return tiny
