"""Whether the text is still text: diversity, repetition, emptiness, length.

Words are what `\\w+|[^\\w\\s]` finds in lower case, so that models with different tokenizers
compare.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from rlhf.evaluation.bootstrap import Estimate, jackknife

_WORD = re.compile(r"\w+|[^\w\s]")
Gram = tuple[str, ...]


def words(text: str) -> list[str]:
    """The text's words and punctuation marks, in lower case."""
    return _WORD.findall(text.lower())


def ngrams(text: str, n: int) -> list[Gram]:
    """The text's n-grams of words, in order."""
    found = words(text)
    return [tuple(found[i : i + n]) for i in range(len(found) - n + 1)]


def distinct(answers: Sequence[Sequence[str]], n: int) -> Estimate:
    """Distinct n-grams over all n-grams of all answers (Li et al. 2016), jackknifed by prompt.

    It falls as text grows longer, so compare it between sets of the same prompts and number of
    answers, beside their lengths. 0 where there is no n-gram at all.
    """
    counts = [_count(ngrams(text, n) for text in group) for group in answers]
    everything = Counter[Gram]()
    for count in counts:
        everything.update(count)
    total, types = everything.total(), len(everything)
    left_out = []
    for count in counts:
        only_here = sum(1 for gram, times in count.items() if everything[gram] == times)
        rest = total - count.total()
        left_out.append((types - only_here) / rest if rest else 0.0)
    return jackknife(types / total if total else 0.0, left_out)


def has_repeated_4gram(text: str) -> bool:
    """Whether four words in a row come back within the text: the mark of a loop."""
    found = ngrams(text, 4)
    return len(set(found)) < len(found)


def is_duplicate(answers: Sequence[Sequence[str]]) -> list[list[float]]:
    """1.0 for an answer whose text also answers another prompt, per prompt and answer.

    The mark of collapse onto one pleasing sentence. Several answers to one prompt may well be
    the same.
    """
    prompts_with = Counter(text for group in answers for text in {_plain(t) for t in group})
    return [[float(prompts_with[_plain(text)] > 1) for text in group] for group in answers]


def _plain(text: str) -> str:
    return " ".join(words(text))


def _count(groups: Iterable[list[Gram]]) -> Counter[Gram]:
    count = Counter[Gram]()
    for grams in groups:
        count.update(grams)
    return count
