"""The answers of the most similar training prompt: what a model has to beat to be worth more."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlhf.evaluation.core.contamination import Seen, prompt_words
from rlhf.evaluation.core.diversity import Gram, ngrams
from rlhf.types import Prompt


@dataclass(frozen=True, kw_only=True)
class Found:
    """A training prompt's different answers; how similar it is to the one asked: cosine, 0 to 1."""

    answers: Sequence[str]
    similarity: float


class NearestPrompt:
    """Nearest training prompt by the cosine of tf-idf weights of its words and word pairs.

    weight = (1 + log tf) · log(1 + N / df), the ordinary one (Salton & Buckley 1988). Rows of one
    prompt are taken together: which of its answers stands first must not decide. Of several
    prompts that are equally near the first is taken.
    """

    def __init__(self, rows: Sequence[Seen]) -> None:
        by_prompt: dict[str, dict[str, None]] = {}  # a set of answers that keeps their order
        for row in rows:
            if row.answers:
                known = by_prompt.setdefault(prompt_words(row.prompt), {})
                known.update(dict.fromkeys(row.answers))
        self.answers = [list(answers) for answers in by_prompt.values()]
        counts = [_terms(text) for text in by_prompt]
        documents = Counter(term for count in counts for term in count)
        self.idf = {term: math.log(1 + len(counts) / df) for term, df in documents.items()}
        places: dict[Gram, list[int]] = {}
        weights: dict[Gram, list[float]] = {}
        for index, count in enumerate(counts):
            for term, weight in self._unit(count).items():
                places.setdefault(term, []).append(index)
                weights.setdefault(term, []).append(weight)
        self.postings: dict[Gram, tuple[NDArray[np.int64], NDArray[np.float64]]] = {
            term: (np.array(places[term]), np.array(weights[term])) for term in places
        }

    def __bool__(self) -> bool:
        return bool(self.answers)

    def find(self, prompt: Prompt) -> Found:
        """The best match; the first training prompt with similarity 0 where no word is shared."""
        similarity = np.zeros(len(self.answers))
        for term, weight in self._unit(_terms(prompt_words(prompt))).items():
            places, weights = self.postings[term]
            similarity[places] += weight * weights  # a place stands once in each posting
        best = int(np.argmax(similarity.round(9)))
        return Found(answers=self.answers[best], similarity=float(similarity[best]))

    def _unit(self, count: Counter[Gram]) -> dict[Gram, float]:
        weights = {
            term: (1 + math.log(times)) * self.idf[term]
            for term, times in count.items()
            if term in self.idf
        }
        norm = math.sqrt(sum(weight**2 for weight in weights.values())) or 1.0
        return {term: weight / norm for term, weight in weights.items()}


def _terms(text: str) -> Counter[Gram]:
    return Counter([*ngrams(text, 1), *ngrams(text, 2)])
