"""Configurations in which every allowed pair of values of any two factors occurs."""

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence

Row = dict[str, str]
Pair = tuple[tuple[str, str], tuple[str, str]]
NUM_CANDIDATES = 40  # random candidates for each row


def covering_rows(
    factors: Mapping[str, Sequence[str]], allowed: Callable[[Row], bool], *, seed: int = 0
) -> list[Row]:
    """A few allowed rows that together have every pair of values of any allowed row.

    Greedy: among random rows with one missing pair, take the one with the most missing pairs.
    """
    rng = random.Random(seed)
    allowed_rows = [row for row in _product(factors) if allowed(row)]
    missing = {pair for row in allowed_rows for pair in _pairs(row)}
    rows_with: dict[Pair, list[Row]] = {}
    for row in allowed_rows:
        for pair in _pairs(row):
            rows_with.setdefault(pair, []).append(row)
    rows: list[Row] = []
    while missing:
        candidates = rows_with[min(missing)]
        sampled = rng.sample(candidates, min(NUM_CANDIDATES, len(candidates)))
        best = max(sampled, key=lambda row: len(missing & set(_pairs(row))))
        rows.append(best)
        missing -= set(_pairs(best))
    return rows


def _product(factors: Mapping[str, Sequence[str]]) -> Iterator[Row]:
    for values in itertools.product(*factors.values()):
        yield dict(zip(factors, values, strict=True))


def _pairs(row: Row) -> list[Pair]:
    return list(itertools.combinations(sorted(row.items()), 2))
