"""How far each annotator is to be trusted: by agreement with the others and with a model.

Of a pair of answers let one side be right. Annotator a names it with probability (1 + t_a) / 2:
t = 1 never errs, 0 clicks at random, -1 says the opposite. If errors are independent, two
annotators agree on c_ab = 2 P(agree) - 1 = t_a t_b, so that the table of agreements alone tells
who is who (Dawid and Skene's one-coin model, https://doi.org/10.2307/2346806, in moments instead
of EM: it needs no start and has one answer). A reward model that did not see an annotator's
rankings is one more voice in the table, and the only one where nobody shares an item. Then the
table holds t_a t_model alone: who is more reliable than whom, and who is below 0, but not how
reliable anybody is as such. Weights and remarks ask for no more.
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
BLOCKS = 20  # of prompts, each left out once for the standard error
STUDENT_95 = 2.093  # two-sided 95% quantile of Student's t with BLOCKS - 1 degrees of freedom
SPREAD = 0.25  # by how much annotators are taken to differ before anything is known of them
MODEL = "\0model"  # no annotator's name

OPPOSITE = "says the opposite of the others"
CHANCE = "cannot be told from clicking at random"
HALF = "less than half as reliable as the middle annotator"

Table = NDArray[np.float64]
Order = Mapping[tuple[tuple[int, ...], tuple[int, ...]], bool]


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """One annotator."""

    annotator: str
    rankings: int
    pairs: int  # votes compared with somebody else's, or with the model's
    reliability: float  # t: 1 never errs, 0 clicks at random, below 0 says the opposite
    low: float  # 95%, blocks of prompts left out in turn
    high: float
    weight: float  # of each of the rankings in the loss; 1 on average over the rankings
    remark: str  # "" or why to look at this person's labels


def estimate_reliabilities(
    rankings: Sequence[TokenRanking], scores: Sequence[Sequence[float]] | None
) -> list[Reliability]:
    """Every annotator's reliability and weight, by name.

    The weight is max(0, t), t drawn to the mean of all where little is known of it: with
    independent errors the best weight of a vote of mean t * truth and variance about 1 is t. Who
    cannot be told from chance, or says the opposite, gets weight 0 and a remark; nobody's labels
    are turned round, since the reason may be a mistake that one can ask about.

    Args:
        rankings: of all annotators.
        scores: for each ranking the scores of its answers by a model that was not trained on
            it; None where annotators are compared with each other alone.

    Raises:
        ConfigError: fewer than two annotators, or nobody to compare them with.
    """
    names = sorted({ranking.annotator for ranking in rankings})
    if len(names) < 2:
        raise ConfigError(f"annotator_weights compares annotators, and there is {len(names)}.")
    same, both = agreement_tables(rankings, scores, [*names, MODEL])
    if not both.sum():
        raise ConfigError(
            "annotator_weights=agreement: no pair of answers was ordered by two annotators; use "
            "annotator_weights=model, which compares each with a model of the others' rankings."
        )
    t = factorize(same.sum(0), both.sum(0))[: len(names)]
    errors = _standard_errors(same, both)[: len(names)]
    counts = np.array([sum(r.annotator == name for r in rankings) for name in names])
    # The jackknife knows nothing of somebody who is in one or two blocks.
    errors = np.maximum(errors, 1 / np.sqrt(counts))
    lows, highs = t - STUDENT_95 * errors, t + STUDENT_95 * errors
    middle = float(np.median(t))
    remarks = [_remark(low, high, middle) for low, high in zip(lows, highs, strict=True)]
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
    voices: Sequence[str],
) -> tuple[Table, Table]:
    """Votes that each two voices cast alike, and that both cast: [BLOCKS, voices, voices]."""
    place = {name: index for index, name in enumerate(voices)}
    same = np.zeros((BLOCKS, len(voices), len(voices)))
    both = np.zeros_like(same)
    by_prompt: dict[str, list[tuple[int, Order]]] = {}
    models: dict[str, Order] = {}
    for index, ranking in enumerate(rankings):
        said = by_prompt.setdefault(ranking.group, [])
        said.append((place[ranking.annotator], _order(ranking, [-r for r in ranking.ranks])))
        if scores is not None:
            before = models.get(ranking.group, {})
            models[ranking.group] = {**before, **_order(ranking, scores[index])}
    for prompt, said in by_prompt.items():
        # One voice, however many people ranked the prompt.
        said += [(place[MODEL], models[prompt])] if scores is not None else []
        block = int(hash_text(prompt)[:8], 16) % BLOCKS
        for (one, ones), (other, others) in combinations(said, 2):
            common = ones.keys() & others.keys() if one != other else set()
            alike = sum(ones[pair] == others[pair] for pair in common)
            for a, b in ((one, other), (other, one)):
                same[block, a, b] += alike
                both[block, a, b] += len(common)
    return same, both


def factorize(same: Table, both: Table) -> Table:
    """t [voices] with t_a t_b nearest to 2 same/both - 1, weighted by `both`: alternating least
    squares; 0 without a vote. The table does not tell t from -t: see `_sign`. The last voice is
    the model's."""
    agreement = np.where(both > 0, 2 * same / np.maximum(both, 1) - 1, 0.0)
    t = np.full(len(both), 0.7)
    for _ in range(100):
        for a in range(len(t)):
            power = (both[a] * t**2).sum()
            if power > 0:
                t[a] = np.clip((both[a] * agreement[a] * t).sum() / power, -1.0, 1.0)
    for members in _connected(both):
        t[members] *= _sign(t[members], both[members].sum(1), with_model=members[-1] == len(t) - 1)
    return t


def weighted(rankings: Sequence[TokenRanking], found: Sequence[Reliability]) -> list[TokenRanking]:
    """The rankings with their annotators' weights."""
    weights = {one.annotator: one.weight for one in found}
    return [
        replace(ranking, weights=tuple(w * weights[ranking.annotator] for w in ranking.weights))
        for ranking in rankings
    ]


def describe(found: Sequence[Reliability]) -> list[str]:
    """A line an annotator, the least reliable first."""
    lines = []
    for one in sorted(found, key=lambda one: one.reliability):
        name = one.annotator or "(unnamed)"
        line = (
            f"annotator {name}: reliability {one.reliability:.2f} [{one.low:.2f}, {one.high:.2f}] "
            f"over {one.pairs} votes, weight {one.weight:.2f}"
        )
        lines.append(f"{line}: {one.remark}" if one.remark else line)
    return lines


def write_reliabilities(folder: Path, found: Sequence[Reliability]) -> None:
    """Write `folder/annotators.json`."""
    content = {"annotators": [asdict(one) for one in found]}
    write_atomically(folder / ANNOTATORS, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_reliabilities(folder: Path) -> list[Reliability] | None:
    """What `folder/annotators.json` holds; None where there is no such file."""
    path = folder / ANNOTATORS
    if not path.is_file():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    return [Reliability(**one) for one in content["annotators"]]


def _order(ranking: TokenRanking, values: Sequence[float]) -> Order:
    """Of each two different texts with different values, in a fixed order: is the first better?"""
    each = {tuple(ids): value for ids, value in zip(ranking.ids, values, strict=True)}
    return {
        (a, b): each[a] > each[b] for a, b in combinations(sorted(each), 2) if each[a] != each[b]
    }


def _connected(both: Table) -> list[list[int]]:
    """The voices, in sets between which there is no comparison."""
    left, found = set(range(len(both))), []
    while left:
        reached, new = set[int](), {min(left)}
        while new:
            reached |= new
            new = {b for a in new for b in np.flatnonzero(both[a]).tolist()} - reached
        left -= reached
        found.append(sorted(reached))
    return found


def _sign(t: Table, votes: Table, *, with_model: bool) -> float:
    """1 or -1: most votes are then cast by voices above 0.

    Where all comparisons are between the signs (one annotator beside each other one) both sides
    have cast as many votes. Then the model is above 0, or without one most people are; 0 where
    that is even too: two contradict each other, and nobody can say who is right.
    """
    by_votes = float((votes * np.sign(t)).sum())
    evenly = float(t[-1]) if with_model else float(np.sign(t).sum())
    return float(np.sign(by_votes or evenly)) if votes.sum() else 0.0


def _standard_errors(same: Table, both: Table) -> Table:
    """[voices]: jackknife over blocks of prompts, sqrt((B-1)/B Σ (t_without_b - mean)²)."""
    total, votes = same.sum(0), both.sum(0)
    without = np.stack([factorize(total - s, votes - b) for s, b in zip(same, both, strict=True)])
    spread: Table = ((without - without.mean(0)) ** 2).sum(0)
    return np.sqrt((BLOCKS - 1) / BLOCKS * spread)


def _weights(t: Table, errors: Table, counts: NDArray[np.int64]) -> Table:
    """max(0, t), t drawn towards the rankings' mean by its error; mean 1 over the rankings."""
    mean = float((t * counts).sum() / counts.sum())
    known = SPREAD**2 / (SPREAD**2 + errors**2)
    raw = np.maximum(known * t + (1 - known) * mean, 0.0)
    scale = float((raw * counts).sum() / counts.sum())
    if scale <= 0:
        raise ConfigError(
            "annotator_weights: no annotator agrees with the others better than by chance; "
            "look at the labels (`rlhf label stats`)."
        )
    return np.asarray(raw / scale)


def _remark(low: float, high: float, middle: float) -> str:
    """What is to be said of somebody with this interval, beside the middle annotator."""
    if high < 0:
        return OPPOSITE
    if low <= 0 and high < middle:
        return CHANCE
    return HALF if high < middle / 2 else ""
