"""Reliability of annotators, from their agreement with each other and with a model.

One response of a pair is truly better. Annotator a names it with probability (1 + t_a) / 2: t = 1
never errs, 0 labels at random, -1 reverses every label. With independent errors two annotators have
agreement c_ab = 2 P(agree) - 1 = t_a t_b, so that the table of agreements determines t (Dawid and
Skene's one-coin model, https://doi.org/10.2307/2346806, with moments instead of EM: no starting
point and one solution). A reward model that was not trained on an annotator's rankings is a further
voter in the table, and the only other one if annotators share no item. The table then holds only
t_a t_model: the order of the annotators and the sign of t, but not its size. Weights and remarks
need no more.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rlhf.errors import ConfigError
from rlhf.manifest import hash_text, write_atomically
from rlhf.training.reward.data import TokenRanking

ANNOTATORS = "annotators.json"
BLOCKS = 20  # blocks of prompts, each left out once for the standard error
STUDENT_95 = 2.093  # two-sided 95% quantile of Student's t with BLOCKS - 1 degrees of freedom
SPREAD = 0.25  # prior standard deviation of reliabilities
MODEL = "\0model"  # not the name of any annotator

OPPOSITE = "reverses the labels of the others"
CHANCE = "no better than random labels"
HALF = "less than half as reliable as the median annotator"

Table = NDArray[np.float64]
Order = Mapping[tuple[tuple[int, ...], tuple[int, ...]], bool]


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """The reliability of one annotator."""

    annotator: str
    rankings: int
    pairs: int  # votes compared with another annotator's or the model's
    reliability: float  # t: 1 never errs, 0 labels at random, below 0 reverses labels
    low: float  # 95% interval, from the jackknife over blocks of prompts
    high: float
    weight: float  # of each ranking in the loss; mean 1 over the rankings
    remark: str  # a reason to check this annotator's labels, or ""


def estimate_reliabilities(
    rankings: Sequence[TokenRanking], scores: Sequence[Sequence[float]] | None
) -> list[Reliability]:
    """Reliability and weight of every annotator, sorted by name.

    The weight is max(0, t), with t shrunk to the mean where data is scarce: with independent errors
    the best weight of a vote of mean t * truth and variance about 1 is t. An annotator who is no
    better than chance, or reverses labels, gets weight 0 and a remark. Labels are never flipped,
    since the cause may be a mistake that can be clarified.

    Args:
        rankings: of all annotators.
        scores: for each ranking the scores of its responses by a model that was not trained on it;
            None to compare annotators only with each other.

    Raises:
        ConfigError: fewer than two annotators, or no votes to compare.
    """
    names = sorted({ranking.annotator for ranking in rankings})
    if len(names) < 2:
        raise ConfigError(
            f"annotator_weights needs at least two annotators, but the rankings have {len(names)}; "
            "leave it out.",
            code="key-conflict",
        )
    same, both = agreement_tables(rankings, scores, [*names, MODEL])
    if not both.sum():
        raise ConfigError(
            "annotator_weights=agreement: no pair of responses was ordered by two annotators; use "
            "annotator_weights=model, which compares each with a model of the others' rankings.",
            code="key-conflict",
        )
    t = factorize(same.sum(0), both.sum(0))[: len(names)]
    errors = _standard_errors(same, both)[: len(names)]
    counts = np.array([sum(r.annotator == name for r in rankings) for name in names])
    # The jackknife has no information on an annotator in only one or two blocks.
    errors = np.maximum(errors, 1 / np.sqrt(counts))
    lows, highs = t - STUDENT_95 * errors, t + STUDENT_95 * errors
    median = float(np.median(t))
    remarks = [_remark(low, high, median) for low, high in zip(lows, highs, strict=True)]
    chance = np.array([remark in (OPPOSITE, CHANCE) for remark in remarks])
    weights = _weights(np.where(chance, 0.0, t), np.where(chance, 0.0, errors), counts)
    pairs = both.sum(0).sum(1)[: len(names)]
    return [
        Reliability(
            annotator=name,
            rankings=int(counts[i]),
            pairs=int(pairs[i]),
            reliability=float(t[i]),
            low=float(lows[i]),
            high=float(highs[i]),
            weight=float(weights[i]),
            remark=remarks[i],
        )
        for i, name in enumerate(names)
    ]


def agreement_tables(
    rankings: Sequence[TokenRanking],
    scores: Sequence[Sequence[float]] | None,
    voters: Sequence[str],
) -> tuple[Table, Table]:
    """Equal votes and common votes of each two voters: [BLOCKS, voters, voters] each."""
    place = {name: index for index, name in enumerate(voters)}
    same = np.zeros((BLOCKS, len(voters), len(voters)))
    both = np.zeros_like(same)
    by_prompt: dict[str, list[tuple[int, Order]]] = {}
    models: dict[str, Order] = {}
    for index, ranking in enumerate(rankings):
        votes = by_prompt.setdefault(ranking.group, [])
        votes.append((place[ranking.annotator], _order(ranking, [-r for r in ranking.ranks])))
        if scores is not None:
            earlier = models.get(ranking.group, {})
            models[ranking.group] = {**earlier, **_order(ranking, scores[index])}
    for prompt, votes in by_prompt.items():
        # The model votes once, however many annotators ranked the prompt.
        votes += [(place[MODEL], models[prompt])] if scores is not None else []
        block = int(hash_text(prompt)[:8], 16) % BLOCKS
        for (first, first_order), (second, second_order) in combinations(votes, 2):
            common = first_order.keys() & second_order.keys() if first != second else set()
            equal = sum(first_order[pair] == second_order[pair] for pair in common)
            for a, b in ((first, second), (second, first)):
                same[block, a, b] += equal
                both[block, a, b] += len(common)
    return same, both


def factorize(same: Table, both: Table) -> Table:
    """t [voters] with t_a t_b nearest to 2 same/both - 1, weighted by `both`; 0 without a vote.

    By alternating least squares. The table cannot distinguish t from -t: see `_sign`. The last
    voter is the model.
    """
    agreement = np.where(both > 0, 2 * same / np.maximum(both, 1) - 1, 0.0)
    t = np.full(len(both), 0.7)
    for _ in range(100):
        for a in range(len(t)):
            norm = (both[a] * t**2).sum()
            if norm > 0:
                t[a] = np.clip((both[a] * agreement[a] * t).sum() / norm, -1.0, 1.0)
    for members in _connected(both):
        t[members] *= _sign(t[members], both[members].sum(1), with_model=members[-1] == len(t) - 1)
    return t


def weighted(
    rankings: Sequence[TokenRanking], reliabilities: Sequence[Reliability]
) -> list[TokenRanking]:
    """The rankings with their annotators' weights."""
    weights = {each.annotator: each.weight for each in reliabilities}
    return [
        replace(ranking, weights=tuple(w * weights[ranking.annotator] for w in ranking.weights))
        for ranking in rankings
    ]


def describe(reliabilities: Sequence[Reliability]) -> list[str]:
    """A line per annotator, the least reliable first."""
    lines = []
    for each in sorted(reliabilities, key=lambda each: each.reliability):
        name = each.annotator or "(unnamed)"
        line = (
            f"annotator {name}: reliability {each.reliability:.2f} "
            f"[{each.low:.2f}, {each.high:.2f}] over {each.pairs} votes, weight {each.weight:.2f}"
        )
        lines.append(f"{line}: {each.remark}" if each.remark else line)
    return lines


def write_reliabilities(folder: Path, reliabilities: Sequence[Reliability]) -> None:
    """Write `folder/annotators.json`, with mode 0600, as it has the annotators' names."""
    content = {"annotators": [asdict(each) for each in reliabilities]}
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    write_atomically(folder / ANNOTATORS, text, private=True)


def read_reliabilities(folder: Path) -> list[Reliability] | None:
    """The content of `folder/annotators.json`; None where there is no such file."""
    path = folder / ANNOTATORS
    if not path.is_file():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    return [Reliability(**each) for each in content["annotators"]]


def _order(ranking: TokenRanking, values: Sequence[float]) -> Order:
    """For each two texts with different values, in a fixed order: whether the first is better."""
    each = {tuple(ids): value for ids, value in zip(ranking.ids, values, strict=True)}
    return {
        (a, b): each[a] > each[b] for a, b in combinations(sorted(each), 2) if each[a] != each[b]
    }


def _connected(both: Table) -> list[list[int]]:
    """The voters, in sets without comparisons between them."""
    left, components = set(range(len(both))), []
    while left:
        reached, new = set[int](), {min(left)}
        while new:
            reached |= new
            new = {b for a in new for b in np.flatnonzero(both[a]).tolist()} - reached
        left -= reached
        components.append(sorted(reached))
    return components


def _sign(t: Table, votes: Table, *, with_model: bool) -> float:
    """The sign, 1 or -1, with which most votes come from voters above 0.

    If all comparisons are between voters of opposite sign, both sides have the same number of
    votes. Then the model is above 0, or without a model most annotators are. 0 if that is a tie
    too: two annotators contradict each other, and either may be right.
    """
    by_votes = float((votes * np.sign(t)).sum())
    evenly = float(t[-1]) if with_model else float(np.sign(t).sum())
    return float(np.sign(by_votes or evenly)) if votes.sum() else 0.0


def _standard_errors(same: Table, both: Table) -> Table:
    """[voters]: jackknife over blocks of prompts, sqrt((B-1)/B Σ (t_without_b - mean)²)."""
    total, votes = same.sum(0), both.sum(0)
    without = np.stack([factorize(total - s, votes - b) for s, b in zip(same, both, strict=True)])
    spread: Table = ((without - without.mean(0)) ** 2).sum(0)
    return np.sqrt((BLOCKS - 1) / BLOCKS * spread)


def _weights(t: Table, errors: Table, counts: NDArray[np.int64]) -> Table:
    """max(0, t), with t shrunk to the rankings' mean by its error; mean 1 over the rankings."""
    mean = float((t * counts).sum() / counts.sum())
    known = SPREAD**2 / (SPREAD**2 + errors**2)
    raw = np.maximum(known * t + (1 - known) * mean, 0.0)
    scale = float((raw * counts).sum() / counts.sum())
    if scale <= 0:
        raise ConfigError(
            "annotator_weights: no annotator agrees with the others better than by chance; "
            "check the labels (`rlhf label stats`).",
            code="bad-label",
        )
    return np.asarray(raw / scale)


def _remark(low: float, high: float, median: float) -> str:
    """A remark on an annotator with this interval, compared with the median; "" for none."""
    if high < 0:
        return OPPOSITE
    if low <= 0 and high < median:
        return CHANCE
    return HALF if high < median / 2 else ""
