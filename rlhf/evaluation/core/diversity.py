"""Whether the text is still text: diversity, repetition, emptiness, length.

Words are what `\\w+|[^\\w\\s]` finds in lower case, so that models with different tokenizers
compare.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from rlhf.evaluation.stats.bootstrap import (
    RESAMPLES,
    Estimate,
    estimate_of,
    jackknife,
    resampled_counts,
)

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


def self_bleu(texts: Sequence[str]) -> list[float]:
    """BLEU-4 of each answer with the other answers to its prompt as references, 0 to 1.

    1 is a model that says one thing (Zhu et al. 2018, https://arxiv.org/abs/1802.01886). Precisions
    of n = 2, 3, 4 have 1 added above and below, or one missing n-gram would make it 0 (Lin & Och
    2004, method 2). Empty where there is no other answer.
    """
    if len(texts) < 2:
        return []
    counts = [[Counter(ngrams(text, n)) for n in (1, 2, 3, 4)] for text in texts]
    lengths = [len(words(text)) for text in texts]
    return [
        _bleu(
            counts[i],
            lengths[i],
            counts[:i] + counts[i + 1 :],
            lengths[:i] + lengths[i + 1 :],
        )
        for i in range(len(texts))
    ]


def quantile(
    values: Sequence[Sequence[float]], q: float, *, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """The smallest value that a share q of all answers does not exceed; bootstrap over prompts.

    Raises:
        ValueError: no value at all.
    """
    kept = [group for group in values if len(group)]
    flat = np.array([value for group in kept for value in group], dtype=np.float64)
    if not len(flat):
        raise ValueError("nothing to take a quantile of: no prompt has an answer")
    prompt = np.repeat(np.arange(len(kept)), [len(group) for group in kept])
    order = np.argsort(flat, kind="stable")
    draws = []
    for counts in resampled_counts(len(kept), seed=seed, resamples=resamples):
        below = np.cumsum(counts[:, prompt[order]], axis=1)
        draws.append(flat[order][(below < q * below[:, -1:]).sum(axis=1)])
    value = flat[order][max(0, math.ceil(q * len(flat)) - 1)]
    return estimate_of(float(value), np.concatenate(draws), n=len(kept), num_answers=len(flat))


def _bleu(
    own: Sequence[Counter[Gram]],
    length: int,
    others: Sequence[Sequence[Counter[Gram]]],
    lengths: Sequence[int],
) -> float:
    if not length:
        return float(0 in lengths)
    logs = 0.0
    for n, grams in enumerate(own, 1):
        allowed = Counter[Gram]()
        for other in others:
            allowed |= other[n - 1]
        matched, added = (grams & allowed).total(), float(n > 1)
        if matched + added == 0:
            return 0.0
        logs += math.log((matched + added) / (grams.total() + added)) / 4
    nearest = min(lengths, key=lambda other: (abs(other - length), other))
    return math.exp(logs + min(0.0, 1 - nearest / length))


def _plain(text: str) -> str:
    return " ".join(words(text))


def _count(groups: Iterable[list[Gram]]) -> Counter[Gram]:
    count = Counter[Gram]()
    for grams in groups:
        count.update(grams)
    return count
