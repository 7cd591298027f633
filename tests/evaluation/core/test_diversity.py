"""Diversity and repetition by value."""

import pytest

from rlhf.evaluation.core.diversity import (
    distinct,
    has_repeated_4gram,
    is_duplicate,
    quantile,
    self_bleu,
    words,
)


def test_words_and_punctuation_are_lower_case():
    assert words("Yes, it IS.") == ["yes", ",", "it", "is", "."]


def test_distinct_1_and_2_by_hand():
    """a b a b: 2 words of 4; bigrams ab, ba, ab: 2 of 3."""
    assert distinct([["a b a b"]], 1).value == 0.5
    assert distinct([["a b a b"]], 2).value == pytest.approx(2 / 3)


def test_distinct_counts_across_prompts():
    """Two prompts with one sentence: 2 distinct bigrams of 4."""
    assert distinct([["one two three"], ["one two three"]], 2).value == 0.5


def test_distinct_jackknife_equals_recounting():
    """The shortcut equals counting again without each prompt; t of 2 degrees is 4.3027."""
    responses = [["a b c", "a b"], ["b c d"], ["x y z a b"]]
    recounted = [distinct(responses[:i] + responses[i + 1 :], 2).value for i in range(3)]
    spread = sum((v - sum(recounted) / 3) ** 2 for v in recounted)
    estimate = distinct(responses, 2)
    half = 4.302653 * (2 / 3 * spread) ** 0.5
    assert estimate.high - estimate.value == pytest.approx(half)


def test_distinct_without_ngrams_is_zero():
    assert distinct([[""], ["a"]], 2).value == 0.0


@pytest.mark.parametrize(
    ("text", "loops"),
    [("one two three four five", False), ("a b c d a b c d", True), ("no no no no no", True)],
)
def test_repeated_4grams(text, loops):
    assert has_repeated_4gram(text) is loops


def test_duplicates_are_between_prompts():
    duplicates = is_duplicate([["Yes.", "Yes."], ["No!", "sure"], ["no !"]])
    assert duplicates == [[0.0, 0.0], [1.0, 0.0], [1.0]]


def test_self_bleu_by_hand():
    """`a b c d` and `a b x d`: 3 of 4 words, 1 of 3 pairs, no more.

    With 1 added to numerator and denominator from pairs on: (3/4 · 2/4 · 1/3 · 1/2)^(1/4) = 0.5;
    equal lengths have no penalty. The value is symmetric.
    """
    assert self_bleu(["a b c d", "a b x d"]) == pytest.approx([0.5, 0.5])


def test_self_bleu_of_equal_and_of_disjoint_responses():
    assert self_bleu(["one two three four five"] * 3) == pytest.approx([1.0] * 3)
    assert self_bleu(["a b c", "x y z"]) == [0.0, 0.0]


def test_self_bleu_has_brevity_penalty():
    """`a b c d` within `a b c d e f g h`: every n-gram matches, the penalty is exp(1 - 8/4)."""
    assert self_bleu(["a b c d", "a b c d e f g h"])[0] == pytest.approx(0.36788, abs=1e-4)


def test_self_bleu_of_empty_and_single_responses():
    assert self_bleu(["", ""]) == [1.0, 1.0]
    assert self_bleu(["", "a b"]) == [0.0, 0.0]
    assert self_bleu(["a b"]) == []


def test_quantile_is_over_responses_and_interval_over_prompts():
    """Nine tenths of 1 … 10 are at most 9; ten equal prompts give an interval of width 0."""
    assert quantile([[float(i) for i in range(1, 11)]] * 10, 0.9).value == 9.0
    estimate = quantile([[float(i) for i in range(1, 11)]] * 10, 0.5)
    assert (estimate.low, estimate.value, estimate.high) == (5.0, 5.0, 5.0)
    two = quantile([[1.0], [3.0]], 0.5)
    assert (two.low, two.value, two.high) == (1.0, 1.0, 3.0)
