"""Metrics of a reward model on held-out rankings: pure functions of scored rankings."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from statistics import fmean

import numpy as np

from rlhf.evaluation.core.results import Result, result_of
from rlhf.evaluation.reward_model.calibration import calibration_error, error_by_chance
from rlhf.evaluation.reward_model.parts import with_parts
from rlhf.evaluation.reward_model.scored_rankings import (
    ScoredRanking,
    agreement,
    average,
)
from rlhf.evaluation.reward_model.soft import soft_metrics
from rlhf.evaluation.stats.bootstrap import Estimate, jackknife
from rlhf.evaluation.stats.composite import share_of

Case = tuple[ScoredRanking, int, int]  # a ranking, and the positions of two responses
MANY_STRENGTHS = 9  # from so many different strengths on they are grouped
GAPS = ("gap of 1 rank", "gap of 2 or 3 ranks", "gap of 4 ranks or more")


def reward_metrics(
    scored: Sequence[ScoredRanking], model: str, *, are_logits: bool = True
) -> list[Result]:
    """Accuracy by part, loss, agreement of annotators, ties, calibration, length, heads.

    Categories of prompts and groups of annotators are compared with the rest (`parts`), and labels
    of several annotators are also used as distributions (`soft`).

    Metrics without data (fewer than two prompts, no items in common) are left out.

    Args:
        scored: the rankings.
        model: name in the results.
        are_logits: whether σ(difference) of two scores is a probability, so that their calibration
            can be measured.
    """
    estimates = list(_accuracies(scored))
    for metric, estimate in (
        ("held_out_loss", held_out_loss(scored) if are_logits else None),
        ("human_agreement", human_agreement(scored)),
        ("tie_rate", tie_rate(scored)),
        ("ece", calibration_error(scored) if are_logits else None),
        ("ece_by_chance", error_by_chance(scored) if are_logits else None),
        ("longer_wins", accuracy(scored, lambda one, i: float(one.lengths[i]))),
        ("length_correlation", length_correlation(scored)),
        ("heads_agree", heads_agree(scored)),
    ):
        estimates += [(metric, None, estimate)] if estimate is not None else []
    results = [
        replace(result_of(estimate, metric, model), subset=subset)
        for metric, subset, estimate in estimates
    ]
    return [*with_parts(results, scored, model), *soft_metrics(scored, model, are_logits)]


def accuracy(
    scored: Sequence[ScoredRanking],
    value: Callable[[ScoredRanking, int], float] = lambda one, i: one.scores[i],
    select: Callable[[Case], bool] = lambda case: True,
) -> Estimate | None:
    """Share of the annotators' ordered pairs that `value` orders in the same way, by prompt.

    Equal values count ½. Pairs that an annotator tied are left out. A pair on which people split
    counts with the share of them who order it in the same way.

    Args:
        scored: the rankings.
        value: of a response, by ranking and position; default the score.
        select: which pairs to count; default all.
    """
    return share_of(
        (one.prompt, agreement(value(one, first), value(one, second), share_of_people))
        for one in scored
        for first, second, share_of_people in one.pairs
        if select((one, first, second))
    )


def _accuracies(scored: Sequence[ScoredRanking]) -> Iterator[tuple[str, str | None, Estimate]]:
    """The accuracy of all pairs, then by rank gap, strength and annotator.

    A part is left out if there is only one of its kind, or if it has fewer than two prompts.
    """
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
    for name, select in parts.items():
        estimate = accuracy(scored, select=select)
        if estimate is not None:
            yield "accuracy", name, estimate
    shared = _ordered_by_several(scored)
    both = accuracy(scored, select=lambda case: _pair(*case) in shared) if shared else None
    if both is not None:
        yield "accuracy", "pairs that several people ordered", both


def strengths(scored: Sequence[ScoredRanking]) -> list[tuple[str, float, float]]:
    """(name, lowest, highest) of each strength of preference; empty for a single strength.

    Many different strengths, as from a slider, form three groups with equally many values each.
    """
    values = sorted({one.ranking.strength for one in scored})
    if len(values) < 2:
        return []
    if len(values) <= MANY_STRENGTHS:
        return [(f"strength {value:g}", value, value) for value in values]
    size = math.ceil(len(values) / 3)
    thirds = [values[start : start + size] for start in range(0, len(values), size)]
    return [(f"strength {part[0]:g} to {part[-1]:g}", part[0], part[-1]) for part in thirds]


def annotators(scored: Sequence[ScoredRanking]) -> list[str]:
    """The names of the annotators; empty if there is only one."""
    names = sorted({one.ranking.annotator for one in scored})
    return names if len(names) > 1 else []


def held_out_loss(scored: Sequence[ScoredRanking]) -> Estimate | None:
    """Bradley-Terry loss: the mean over rankings of their mean over pairs; chance is log 2."""
    return average((one.prompt, fmean(_pair_losses(one))) for one in scored if one.pairs)


def human_agreement(scored: Sequence[ScoredRanking]) -> Estimate | None:
    """How often two annotators who ordered the same two responses agree.

    This is an upper limit of the accuracy that can be expected of a reward model that predicts one
    annotator's choice, if annotators have similar error rates. None if no item is shared. An
    annotator and a pair are one case, with the share of the other annotators who agree, as they are
    one case of the accuracy on these pairs: else the 1225 couples among 50 annotators of one pair
    would outweigh a thousand pairs with two annotators.
    """
    cases = []
    for pair, orders in _ordered_by_several(scored).items():
        others = len(orders) - 1
        cases += [(pair[0], (orders.count(order) - 1) / others) for order in orders]
    return share_of(cases)


def tie_rate(scored: Sequence[ScoredRanking]) -> Estimate | None:
    """Share of all pairs of different texts that annotators tied."""
    return share_of(
        (one.prompt, float(one.ranking.ranks[i] == one.ranking.ranks[j]))
        for one in scored
        for i, j in combinations(range(len(one.scores)), 2)
        if one.ranking.responses[i].strip() != one.ranking.responses[j].strip()
    )


def length_correlation(scored: Sequence[ScoredRanking]) -> Estimate | None:
    """Pearson's r of score and length in tokens among the responses to one prompt.

    Both are centred within a ranking, so that responses to a long prompt are not compared with
    those to a short one. Jackknife over prompts of Fisher's z = atanh(r), whose interval stays
    within [-1, 1]; None if score or length is constant.
    """
    sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(3))
    for one in scored:
        scores = np.array(one.scores) - np.mean(one.scores)
        lengths = np.array(one.lengths) - np.mean(one.lengths)
        sums[one.prompt] += ((scores * lengths).sum(), (scores**2).sum(), (lengths**2).sum())
    by_prompt = np.array(list(sums.values()))
    total = by_prompt.sum(0)
    if len(by_prompt) < 2 or not (total[1:] > 0).all():
        return None
    left_out = total - by_prompt
    defined = left_out[(left_out[:, 1:] > 0).all(1)]
    z = jackknife(_fisher_z(total), [_fisher_z(row) for row in defined])
    value, low, high = (math.tanh(one) for one in (z.value, z.low, z.high))
    return replace(z, value=value, low=low, high=high, se=None)


def heads_agree(scored: Sequence[ScoredRanking]) -> Estimate | None:
    """Share of the ordered pairs on which all heads agree; None for a single head."""
    if not scored or len(scored[0].heads[0]) < 2:
        return None
    cases = []
    for one in scored:
        for better, worse in one.ordered:
            pairs = zip(one.heads[better], one.heads[worse], strict=True)
            cases.append((one.prompt, float(len({a > b for a, b in pairs}) == 1)))
    return share_of(cases)


def _pair_losses(one: ScoredRanking) -> list[float]:
    """-p log σ(d) - (1 - p) log σ(-d) of each pair, p the share of people who prefer the first."""
    margins = np.array([one.scores[first] - one.scores[second] for first, second, _ in one.pairs])
    shares = np.array([share_of_people for _, _, share_of_people in one.pairs])
    losses: list[float] = (
        shares * np.logaddexp(0.0, -margins) + (1 - shares) * np.logaddexp(0.0, margins)
    ).tolist()
    return losses


def _fisher_z(sums: np.ndarray) -> float:
    """atanh(r) of (Σxy, Σx², Σy²) of centred values; finite for r = 1 too."""
    r = float(sums[0] / np.sqrt(sums[1] * sums[2]))
    return math.atanh(max(min(r, 1 - 1e-12), 1e-12 - 1))


def _gap(case: Case) -> str:
    one, first, second = case
    gap = abs(one.ranking.ranks[second] - one.ranking.ranks[first])
    if gap == 0:  # people split evenly
        return ""
    return GAPS[0] if gap == 1 else GAPS[1] if gap < 4 else GAPS[2]


def _pair(one: ScoredRanking, better: int, worse: int) -> tuple[str, str, str]:
    """The prompt and the two texts in alphabetical order."""
    texts = sorted((one.ranking.responses[better], one.ranking.responses[worse]))
    return one.prompt, texts[0], texts[1]


def _ordered_by_several(
    scored: Sequence[ScoredRanking],
) -> dict[tuple[str, str, str], list[bool]]:
    """Pairs that several annotators ordered: for each annotator, whether the first text is better.

    An annotator counts once per pair, with the first label; every unnamed row is an annotator.
    """
    orders: dict[tuple[str, str, str], dict[str, bool]] = defaultdict(dict)
    for number, one in enumerate(scored):
        name = one.ranking.annotator or f"\0{number}"
        for better, worse in one.ordered:
            pair = _pair(one, better, worse)
            if pair[1] != pair[2]:
                orders[pair].setdefault(name, one.ranking.responses[better] == pair[1])
    return {
        pair: list(by_annotator.values())
        for pair, by_annotator in orders.items()
        if len(by_annotator) > 1
    }
