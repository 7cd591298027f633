"""Shuffled text."""

from rlhf.rewards.shuffled_words import shuffled


def test_shuffled_words_depend_on_the_seed():
    text = "one two three four five"
    mixed = shuffled(text, 0)
    assert mixed != text
    assert sorted(mixed.split()) == sorted(text.split())
    assert mixed == shuffled(text, 0) != shuffled(text, 1)
