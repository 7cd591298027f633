"""The share of people who prefer a response: a number of a pair, a list of a ranking."""

import pytest

from rlhf.data.rows.parse_ranking import parse_ranking_with_columns
from tests.errors import raises

PAIR = {"prompt": "Where?", "chosen": "Here.", "rejected": "No."}
RANKING = {"prompt": "Where?", "responses": ["a", "b", "c"], "ranks": [1, 1, 2]}


def parse(row, column="p"):
    return parse_ranking_with_columns(row, probability_column=column).probabilities


def test_pair_has_the_probability_of_chosen():
    assert parse({**PAIR, "p": 0.7}) == [(0, 1, 0.7)]
    assert parse({**PAIR, "p": 1}) == [(0, 1, 1.0)]


def test_row_without_the_column_has_none():
    assert parse(PAIR) == parse({**PAIR, "p": None}) == []
    assert parse_ranking_with_columns({**PAIR, "p": "?"}).probabilities == ()


def test_ranking_has_a_list_as_it_is_exported():
    """[first, second, probability, low, high]; a pair in the other order is turned round."""
    pairs = [[0, 1, 0.5, 0.1, 0.9], [2, 0, 0.25, 0.1, 0.6], [1, 2, 1.0]]
    assert parse({**RANKING, "p": pairs}) == [(0, 1, 0.5), (0, 2, 0.75), (1, 2, 1.0)]


def test_pairs_of_equal_texts_are_left_out():
    row = {**RANKING, "responses": ["a", "a ", "c"]}
    assert parse({**row, "p": [[0, 1, 0.5], [0, 2, 0.9], [1, 2, 0.9]]}) == [
        (0, 2, 0.9), (1, 2, 0.9),
    ]  # fmt: skip
    two = {"prompt": "Where?", "responses": ["a", "a "], "ranks": [1, 1]}
    assert parse({**two, "p": 0.5}) == parse({**two, "p": [[0, 1, 0.5]]}) == []


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({**PAIR, "p": 1.5}, "1.5"),
        ({**PAIR, "p": "0.7"}, "0.7"),
        ({**PAIR, "p": True}, "True"),
        ({**PAIR, "p": float("nan")}, "nan"),
        ({**RANKING, "p": 0.7}, "3 responses"),
        ({**RANKING, "p": [[0, 1, 0.5], [0, 2, 0.5]]}, "2 entries"),
        ({**RANKING, "p": [[0, 1, 0.5], [1, 0, 0.5], [1, 2, 0.5]]}, "each pair once"),
        ({**RANKING, "p": [[0, 1, 0.5], [0, 3, 0.5], [1, 2, 0.5]]}, "0 to 2"),
        ({**RANKING, "p": [[0, 0, 0.5], [0, 2, 0.5], [1, 2, 0.5]]}, "itself"),
        ({**RANKING, "p": [[0, 1], [0, 2], [1, 2]]}, "[first, second, probability]"),
    ],
)
def test_column_that_cannot_be_used_rejects_the_row(row, named):
    with raises("bad-row", named):
        parse(row)
