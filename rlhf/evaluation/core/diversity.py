"""Whether responses are still language: diversity, repetition, length.

Words are the matches of `\\w+|[^\\w\\s]` in lower case, so that models with different tokenizers
can be compared.
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
    tokens = words(text)
    return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]


def distinct(responses: Sequence[Sequence[str]], n: int) -> Estimate:
    """Distinct n-grams over all n-grams of all responses (Li et al. 2016), jackknifed by prompt.

    It falls with the length of the text, so compare it only between sets with the same prompts and
    the same number of responses, and look at their lengths too. 0 if there is no n-gram.
    """
    counts = [_count(ngrams(text, n) for text in group) for group in responses]
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
    """Whether a sequence of four words occurs twice in the text: the sign of a loop."""
    grams = ngrams(text, 4)
    return len(set(grams)) < len(grams)


def is_duplicate(responses: Sequence[Sequence[str]]) -> list[list[float]]:
    """1.0 for a response whose text is also a response to another prompt, [prompts][responses].

    Duplicates are the sign of a collapse onto one sentence. Several responses to one prompt may be
    equal.
    """
    prompts_with = Counter(text for group in responses for text in {_plain(t) for t in group})
    return [[float(prompts_with[_plain(text)] > 1) for text in group] for group in responses]


def self_bleu(texts: Sequence[str]) -> list[float]:
    """BLEU-4 of each response with the other responses to its prompt as references, 0 to 1.

    1 means that all responses are equal (Zhu et al. 2018, https://arxiv.org/abs/1802.01886). The
    precisions of n = 2, 3, 4 have 1 added to numerator and denominator, else one missing n-gram
    would make it 0 (Lin & Och 2004, method 2). Empty if there is no other response.
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
    """The smallest value that a share q of all responses does not exceed; bootstrap over prompts.

    Raises:
        ValueError: there is no value.
    """
    groups = [group for group in values if len(group)]
    flat = np.array([value for group in groups for value in group], dtype=np.float64)
    if not len(flat):
        raise ValueError("no quantile of no values: no prompt has a response")
    prompt = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    order = np.argsort(flat, kind="stable")
    draws = []
    for counts in resampled_counts(len(groups), seed=seed, resamples=resamples):
        below = np.cumsum(counts[:, prompt[order]], axis=1)
        draws.append(flat[order][(below < q * below[:, -1:]).sum(axis=1)])
    value = flat[order][max(0, math.ceil(q * len(flat)) - 1)]
    return estimate_of(float(value), np.concatenate(draws), n=len(groups), num_answers=len(flat))


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
