"""Diversity and repetition by value."""

import pytest

from rlhf.evaluation.text_health import distinct, has_repeated_4gram, is_duplicate, words


def test_words_and_marks_are_counted_in_lower_case():
    assert words("Yes, it IS.") == ["yes", ",", "it", "is", "."]


def test_distinct_1_and_2_by_hand():
    """a b a b: 2 words of 4; bigrams ab, ba, ab: 2 of 3."""
    assert distinct([["a b a b"]], 1).value == 0.5
    assert distinct([["a b a b"]], 2).value == pytest.approx(2 / 3)


def test_distinct_looks_across_prompts():
    """Two prompts with one sentence: 2 distinct bigrams of 4."""
    assert distinct([["one two three"], ["one two three"]], 2).value == 0.5


def test_distinct_without_one_prompt_is_what_recounting_gives():
    """The jackknife's shortcut equals counting again without each prompt."""
    answers = [["a b c", "a b"], ["b c d"], ["x y z a b"]]
    recounted = [distinct(answers[:i] + answers[i + 1 :], 2).value for i in range(3)]
    spread = sum((v - sum(recounted) / 3) ** 2 for v in recounted)
    estimate = distinct(answers, 2)
    assert estimate.high - estimate.value == pytest.approx(1.96 * (2 / 3 * spread) ** 0.5)


def test_distinct_of_nothing_is_zero():
    assert distinct([[""], ["a"]], 2).value == 0.0


@pytest.mark.parametrize(
    ("text", "loops"),
    [("one two three four five", False), ("a b c d a b c d", True), ("no no no no no", True)],
)
def test_repeated_4grams(text, loops):
    assert has_repeated_4gram(text) is loops


def test_duplicates_are_between_prompts_not_within_one():
    marks = is_duplicate([["Yes.", "Yes."], ["No!", "sure"], ["no !"]])
    assert marks == [[0.0, 0.0], [1.0, 0.0], [1.0]]
