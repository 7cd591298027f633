"""The share of people who prefer one response to another, from a column of a ranking or a pair."""

from collections.abc import Sequence
from itertools import combinations

from rlhf.data.files.raw import Row
from rlhf.errors import reject_row

PairProbability = tuple[int, int, float]
"""Positions of two responses, and the probability that people prefer the first."""


def pair_probabilities(row: Row, column: str, responses: Sequence[str]) -> list[PairProbability]:
    """The probability of each pair of different responses; empty for a row without the column.

    Two responses may have one number, the probability that the first (`chosen`) is better. Any
    number of responses has a list of `[first, second, probability, …]`, positions from 0, as
    `rlhf label export --consensus` writes it. Pairs of equal texts are left out.

    Raises:
        DataError: a value of another form, a number outside [0, 1], or a pair that is missing or
            occurs twice.
    """
    value = row.get(column)
    if value is None:
        return []
    if not isinstance(value, list):
        if len(responses) != 2:
            reject_row(
                f"{column} {value!r} is one number for {len(responses)} responses; write "
                "[first, second, probability] of each pair"
            )
        value = [[0, 1, value]]
    pairs = [_pair(column, entry, len(responses)) for entry in value]
    expected = set(combinations(range(len(responses)), 2))
    if len(pairs) != len(expected) or {(i, j) for i, j, _ in pairs} != expected:
        reject_row(
            f"{column} has {len(pairs)} entries for the {len(expected)} pairs of "
            f"{len(responses)} responses; give each pair once"
        )
    return [each for each in pairs if responses[each[0]].strip() != responses[each[1]].strip()]


def _pair(column: str, entry: object, count: int) -> PairProbability:
    """The pair with the lower position first."""
    if not isinstance(entry, list) or len(entry) < 3:
        reject_row(f"{column}: {entry!r} is not [first, second, probability]")
    first, second = (_position(column, place, count) for place in entry[:2])
    probability = _probability(column, entry[2])
    if first == second:
        reject_row(f"{column}: {entry!r} compares a response with itself")
    return (first, second, probability) if first < second else (second, first, 1 - probability)


def _position(column: str, place: object, count: int) -> int:
    if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < count:
        reject_row(f"{column}: {place!r} is not the position of a response, 0 to {count - 1}")
    return place


def _probability(column: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        reject_row(f"{column} {value!r} is not a probability, 0 to 1")
    return float(value)
