"""Configurations in which every allowed pair of values of any two factors occurs."""

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence

Row = dict[str, str]
Pair = tuple[tuple[str, str], tuple[str, str]]
TRIES = 40  # random rows that each choice is made from


def covering_rows(
    factors: Mapping[str, Sequence[str]], allowed: Callable[[Row], bool], *, seed: int = 0
) -> list[Row]:
    """Few `allowed` rows that together hold every pair of values that any allowed row holds.

    Greedy: of random rows through a missing pair, the one with the most missing pairs.
    """
    draw = random.Random(seed)
    everything = [row for row in _product(factors) if allowed(row)]
    missing = {pair for row in everything for pair in _pairs(row)}
    holding: dict[Pair, list[Row]] = {}
    for row in everything:
        for pair in _pairs(row):
            holding.setdefault(pair, []).append(row)
    rows: list[Row] = []
    while missing:
        through = holding[min(missing)]
        tried = draw.sample(through, min(TRIES, len(through)))
        best = max(tried, key=lambda row: len(missing & set(_pairs(row))))
        rows.append(best)
        missing -= set(_pairs(best))
    return rows


def _product(factors: Mapping[str, Sequence[str]]) -> Iterator[Row]:
    for values in itertools.product(*factors.values()):
        yield dict(zip(factors, values, strict=True))


def _pairs(row: Row) -> list[Pair]:
    return list(itertools.combinations(sorted(row.items()), 2))
