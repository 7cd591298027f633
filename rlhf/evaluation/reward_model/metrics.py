"""Figures of a reward model on held-out rankings: pure, from scored rankings to results."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from rlhf.evaluation.core.results import Result, result_of
from rlhf.evaluation.reward_model.calibration import calibration_error, error_by_chance
from rlhf.evaluation.reward_model.scored_rankings import ScoredRanking, share
from rlhf.evaluation.stats.bootstrap import Estimate, jackknife
from rlhf.evaluation.stats.win_rate import win

Case = tuple[ScoredRanking, int, int]  # a ranking and the positions of a better and a worse answer
MANY_STRENGTHS = 9
GAPS = ("gap of 1 rank", "gap of 2 or 3 ranks", "gap of 4 ranks or more")


def reward_metrics(scored: Sequence[ScoredRanking], model: str) -> list[Result]:
    """Accuracy as a whole and in parts, people's own agreement, ties, calibration, length, heads.

    A figure that nothing can be said of (no two prompts, nobody in common) is left out.
    """
    found = list(_accuracies(scored))
    for metric, estimate in (
        ("human_agreement", human_agreement(scored)),
        ("tie_rate", tie_rate(scored)),
        ("ece", calibration_error(scored)),
        ("ece_by_chance", error_by_chance(scored)),
        ("longer_wins", accuracy(scored, lambda one, i: float(one.lengths[i]))),
        ("length_correlation", length_correlation(scored)),
        ("heads_agree", heads_agree(scored)),
    ):
        found += [(metric, None, estimate)] if estimate is not None else []
    return [
        replace(result_of(estimate, metric, model), subset=subset)
        for metric, subset, estimate in found
    ]


def accuracy(
    scored: Sequence[ScoredRanking],
    value: Callable[[ScoredRanking, int], float] = lambda one, i: one.scores[i],
    keep: Callable[[Case], bool] = lambda case: True,
) -> Estimate | None:
    """Share of the people's ordered pairs that `value` orders so, by prompt; equal values count ½.

    Ties of people are no pairs: a tie is not a win.
    """
    return share(
        (one.prompt, win(value(one, better), value(one, worse)))
        for one in scored
        for better, worse in one.ordered
        if keep((one, better, worse))
    )


def _accuracies(scored: Sequence[ScoredRanking]) -> Iterator[tuple[str, str | None, Estimate]]:
    """The accuracy of all pairs, then by rank gap, strength, annotator: where there are several
    of these, and two prompts in each."""
    whole = accuracy(scored)
    if whole is not None:
        yield "accuracy", None, whole
    parts: dict[str, Callable[[Case], bool]] = {}
    if max((len(one.scores) for one in scored), default=2) > 2:
        parts |= {
            name: lambda case, name=name: _gap(case) == name  # type: ignore[misc]
            for name in GAPS
        }
    parts |= {
        name: lambda case, low=low, high=high: low <= case[0].ranking.strength <= high  # type: ignore[misc]
        for name, low, high in strengths(scored)
    }
    parts |= {
        f"annotator {name or '(unnamed)'}": lambda case, name=name: (  # type: ignore[misc]
            case[0].ranking.annotator == name
        )
        for name in annotators(scored)
    }
    for name, keep in parts.items():
        estimate = accuracy(scored, keep=keep)
        if estimate is not None:
            yield "accuracy", name, estimate
    shared = _ordered_by_several(scored)
    both = accuracy(scored, keep=lambda case: _pair(*case) in shared) if shared else None
    if both is not None:
        yield "accuracy", "pairs that several people ordered", both


def strengths(scored: Sequence[ScoredRanking]) -> list[tuple[str, float, float]]:
    """(name, lowest, highest) of each strength of preference, where there are at least two; of a
    slider's many, of three parts with as many different values in each."""
    values = sorted({one.ranking.strength for one in scored})
    if len(values) < 2:
        return []
    if len(values) <= MANY_STRENGTHS:
        return [(f"strength {value:g}", value, value) for value in values]
    size = math.ceil(len(values) / 3)
    thirds = [values[start : start + size] for start in range(0, len(values), size)]
    return [(f"strength {part[0]:g} to {part[-1]:g}", part[0], part[-1]) for part in thirds]


def annotators(scored: Sequence[ScoredRanking]) -> list[str]:
    """Their names, where there are at least two."""
    names = sorted({one.ranking.annotator for one in scored})
    return names if len(names) > 1 else []


def human_agreement(scored: Sequence[ScoredRanking]) -> Estimate | None:
    """How often another person who ordered the same two answers ordered them alike.

    What a reward model can be expected to reach at most where it predicts one person's choice
    and people err alike; None where nobody shares an item. A person and pair is one case, with
    the share of the others who agree, as it is one case of the accuracy on these pairs: the 1225
    couples among 50 people on one pair would outweigh a thousand pairs of two.
    """
    cases = []
    for pair, said in _ordered_by_several(scored).items():
        others = len(said) - 1
        cases += [(pair[0], (said.count(order) - 1) / others) for order in said]
    return share(cases)


def tie_rate(scored: Sequence[ScoredRanking]) -> Estimate | None:
    """Share of all pairs of different texts that people tied."""
    return share(
        (one.prompt, float(one.ranking.ranks[i] == one.ranking.ranks[j]))
        for one in scored
        for i, j in combinations(range(len(one.scores)), 2)
        if one.ranking.responses[i].strip() != one.ranking.responses[j].strip()
    )


def length_correlation(scored: Sequence[ScoredRanking]) -> Estimate | None:
    """Pearson's r of score and length in tokens among the answers to one prompt.

    Both are centred within a ranking, so that a long prompt's answers are not compared with a
    short one's. Jackknife over prompts; None where nothing varies.
    """
    sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(3))
    for one in scored:
        scores = np.array(one.scores) - np.mean(one.scores)
        lengths = np.array(one.lengths) - np.mean(one.lengths)
        sums[one.prompt] += ((scores * lengths).sum(), (scores**2).sum(), (lengths**2).sum())
    each = np.array(list(sums.values()))
    if len(each) < 2 or not (each.sum(0)[1:] > 0).all():
        return None
    left_out = each.sum(0) - each
    kept = left_out[(left_out[:, 1:] > 0).all(1)]
    return jackknife(float(_pearson(each.sum(0))), [float(_pearson(row)) for row in kept])


def heads_agree(scored: Sequence[ScoredRanking]) -> Estimate | None:
    """Share of the ordered pairs on which all heads say the same; None of a single head."""
    if not scored or len(scored[0].heads[0]) < 2:
        return None
    cases = []
    for one in scored:
        for better, worse in one.ordered:
            pairs = zip(one.heads[better], one.heads[worse], strict=True)
            cases.append((one.prompt, float(len({a > b for a, b in pairs}) == 1)))
    return share(cases)


def _pearson(sums: np.ndarray) -> float:
    return float(sums[0] / np.sqrt(sums[1] * sums[2]))


def _gap(case: Case) -> str:
    one, better, worse = case
    gap = one.ranking.ranks[worse] - one.ranking.ranks[better]
    return GAPS[0] if gap == 1 else GAPS[1] if gap < 4 else GAPS[2]


def _pair(one: ScoredRanking, better: int, worse: int) -> tuple[str, str, str]:
    """The prompt and the two texts, whichever is better."""
    texts = sorted((one.ranking.responses[better], one.ranking.responses[worse]))
    return one.prompt, texts[0], texts[1]


def _ordered_by_several(
    scored: Sequence[ScoredRanking],
) -> dict[tuple[str, str, str], list[bool]]:
    """Pairs that at least two people ordered: for each of them, whether the first text is better.

    A person counts once for a pair, with what they said first; unnamed rows are each a person.
    """
    said: dict[tuple[str, str, str], dict[str, bool]] = defaultdict(dict)
    for number, one in enumerate(scored):
        name = one.ranking.annotator or f"\0{number}"
        for better, worse in one.ordered:
            pair = _pair(one, better, worse)
            if pair[1] != pair[2]:
                said[pair].setdefault(name, one.ranking.responses[better] == pair[1])
    return {pair: list(given.values()) for pair, given in said.items() if len(given) > 1}
