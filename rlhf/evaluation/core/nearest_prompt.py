"""The responses to the most similar training prompt, as a baseline that a model has to beat."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlhf.evaluation.core.contamination import TrainingPrompt, prompt_text
from rlhf.evaluation.core.diversity import Gram, ngrams
from rlhf.types import Prompt


@dataclass(frozen=True, kw_only=True)
class NearestMatch:
    """The distinct responses to a training prompt, and its cosine similarity, 0 to 1."""

    responses: Sequence[str]
    similarity: float


class NearestPrompt:
    """Nearest training prompt by the cosine of tf-idf weights of words and word pairs.

    weight = (1 + log tf) · log(1 + N / df), the usual one (Salton & Buckley 1988). Rows with the
    same prompt are merged: which of its responses comes first must not matter. Of several prompts
    at the same distance the first one is taken.
    """

    def __init__(self, rows: Sequence[TrainingPrompt]) -> None:
        by_prompt: dict[str, dict[str, None]] = {}  # a dictionary as a set that keeps its order
        for row in rows:
            if row.responses:
                known = by_prompt.setdefault(prompt_text(row.prompt), {})
                known.update(dict.fromkeys(row.responses))
        self.responses = [list(responses) for responses in by_prompt.values()]
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
        return bool(self.responses)

    def find(self, prompt: Prompt) -> NearestMatch:
        """The best match; the first training prompt with similarity 0 if no word is shared."""
        similarity = np.zeros(len(self.responses))
        for term, weight in self._unit(_terms(prompt_text(prompt))).items():
            places, weights = self.postings[term]
            similarity[places] += weight * weights  # no place occurs twice in a posting
        best = int(np.argmax(similarity.round(9)))
        return NearestMatch(responses=self.responses[best], similarity=float(similarity[best]))

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
