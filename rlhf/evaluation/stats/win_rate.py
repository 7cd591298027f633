"""Win rates: how often one model's answer is judged better than another's."""

from collections.abc import Sequence

import numpy as np

from rlhf.evaluation.stats.bootstrap import RESAMPLES, Estimate, rate


def win(ours: float, theirs: float) -> float:
    """1, ½ for a tie, 0."""
    return (ours > theirs) + 0.5 * (ours == theirs)


def prompt_wins(scores: Sequence[float], baseline: Sequence[float]) -> float:
    """Share of the pairs (answer, baseline answer) of one prompt that the answer wins.

    Every answer meets every baseline answer, a tie counts one half: the Mann-Whitney estimate
    of P(win) + P(tie)/2, of lower variance than pairing the answers off and just as unbiased.
    """
    ours = np.asarray(scores, dtype=np.float64)[:, None]
    theirs = np.asarray(baseline, dtype=np.float64)[None, :]
    return float(((ours > theirs) + 0.5 * (ours == theirs)).mean())


def win_rate(
    scores: Sequence[Sequence[float]],
    baseline: Sequence[Sequence[float]],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Estimate:
    """mean(win + tie/2) over prompts, with the bootstrap over prompts.

    scores, baseline: for each prompt the judge's scores of the answers; prompts where either
        has none are left out.

    Raises:
        ValueError: another number of prompts on the two sides, or none.
    """
    if len(scores) != len(baseline):
        raise ValueError(f"{len(scores)} prompts of scores against {len(baseline)} of baseline")
    pairs = [(a, b) for a, b in zip(scores, baseline, strict=True) if len(a) and len(b)]
    wins = [[prompt_wins(a, b)] for a, b in pairs]
    return rate(wins, seed=seed, resamples=resamples)
