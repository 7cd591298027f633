"""Rankings that repeat or contradict each other, counted by hand."""

from rlhf.data.rows.conflicts import find_conflicts
from rlhf.types import Ranking


def ranking(responses, ranks, annotator="", prompt="Where?"):
    return Ranking(prompt=prompt, responses=list(responses), ranks=list(ranks), annotator=annotator)


def test_a_row_that_comes_twice_is_counted_in_any_order_of_its_answers():
    """The second says the same of the same answers; the third is somebody else's."""
    rows = [ranking("ab", [1, 2], "Ann"), ranking("ba", [2, 1], "Ann"), ranking("ab", [1, 2])]
    found = find_conflicts(rows)
    assert (found.repeated, found.disputed, found.ordered_twice) == (1, 0, 1)


def test_contradictions_of_one_person_and_between_people():
    """a-b: Ann both ways. a-c: Ann against Bob. b-c: once for, once tied, which decides nothing."""
    rows = [
        ranking("abc", [1, 2, 3], "Ann"),
        ranking("ab", [2, 1], "Ann"),
        ranking("abc", [3, 1, 1], "Bob"),
    ]
    found = find_conflicts(rows)
    assert (found.contradicted, found.disputed, found.ordered_twice) == (1, 2, 2)
    assert "2 pairs of answers are ordered both ways, 1 of them by one annotator" in " ".join(
        found.lines()
    )


def test_unnamed_rows_may_be_of_several_people():
    found = find_conflicts([ranking("ab", [1, 2]), ranking("ab", [2, 1])])
    assert (found.contradicted, found.disputed) == (0, 1)


def test_prompts_are_told_apart_as_in_a_split():
    """Case and punctuation do not make another prompt; other words do."""
    rows = [ranking("ab", [1, 2]), ranking("ab", [2, 1], prompt="where")]
    assert find_conflicts(rows).disputed == 1
    assert find_conflicts([rows[0], ranking("ab", [2, 1], prompt="Who?")]).disputed == 0


def test_clean_rankings_have_nothing_to_be_said_of():
    assert find_conflicts([ranking("ab", [1, 2]), ranking("cd", [1, 2])]).lines() == []
