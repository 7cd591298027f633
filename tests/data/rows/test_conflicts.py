"""Rankings that repeat or contradict each other, counted by hand."""

from rlhf.data.rows.conflicts import find_conflicts
from rlhf.types import Ranking


def ranking(responses, ranks, annotator="", prompt="Where?"):
    return Ranking(prompt=prompt, responses=list(responses), ranks=list(ranks), annotator=annotator)


def test_repeated_ranking_is_counted_in_any_order_of_responses():
    """The second repeats the first; the third has another annotator."""
    rows = [ranking("ab", [1, 2], "Ann"), ranking("ba", [2, 1], "Ann"), ranking("ab", [1, 2])]
    conflicts = find_conflicts(rows)
    assert (conflicts.repeated, conflicts.disputed, conflicts.ordered_twice) == (1, 0, 1)


def test_contradictions_are_counted_by_annotator_and_overall():
    """a-b: Ann both ways. a-c: Ann against Bob. b-c: once ordered, once tied: not disputed."""
    rows = [
        ranking("abc", [1, 2, 3], "Ann"),
        ranking("ab", [2, 1], "Ann"),
        ranking("abc", [3, 1, 1], "Bob"),
    ]
    conflicts = find_conflicts(rows)
    assert (conflicts.contradicted, conflicts.disputed, conflicts.ordered_twice) == (1, 2, 2)
    assert "2 pairs of responses are ordered both ways, 1 of them by one annotator" in " ".join(
        conflicts.lines()
    )


def test_rankings_without_annotator_never_contradict_one_annotator():
    conflicts = find_conflicts([ranking("ab", [1, 2]), ranking("ab", [2, 1])])
    assert (conflicts.contradicted, conflicts.disputed) == (0, 1)


def test_conflicts_use_the_prompt_key_of_a_split():
    """Case and punctuation do not make another prompt; other words do."""
    rows = [ranking("ab", [1, 2]), ranking("ab", [2, 1], prompt="where")]
    assert find_conflicts(rows).disputed == 1
    assert find_conflicts([rows[0], ranking("ab", [2, 1], prompt="Who?")]).disputed == 0


def test_rankings_without_conflicts_have_no_lines():
    assert find_conflicts([ranking("ab", [1, 2]), ranking("cd", [1, 2])]).lines() == []
