"""An independent sentiment judge: bag-of-words logistic regression on its own sentences.

It shares neither data nor model with the reward model that PPO uses. Its sentences are the held-out
half of the data in docs/research/real-data.md: rows with a positive text (`chosen`) and a negative
one (`rejected`). The environment variable SENTIMENT_JUDGE_DATA names the file (default
runs/sentiment/judge.jsonl).

    python recipes/stories260k/classifier.py runs/sentiment/pairs.jsonl    # prints its accuracy
"""

import functools
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

DATA = "runs/sentiment/judge.jsonl"
WORD = re.compile(r"[a-z']+")
MIN_COUNT = 2
L2 = 1e-3  # per weight, for the mean log-loss; tuned on a split of the judge's own sentences


def positive(prompts: Sequence[str], completions: Sequence[str], **columns: object) -> list[float]:
    """1.0 if the continuation is classified as positive, else 0.0, so that the mean is a share."""
    vocabulary, weights = _fitted()
    logits = _counts(completions, vocabulary) @ weights[:-1] + weights[-1]
    return [float(logit > 0) for logit in logits]


@functools.cache
def _fitted() -> tuple[dict[str, int], Tensor]:
    return fit(*_sentences(Path(os.environ.get("SENTIMENT_JUDGE_DATA", DATA))))


def accuracy(path: Path) -> tuple[float, int]:
    """Share of the file's sentences that the judge classifies correctly, and their number."""
    texts, labels = _sentences(path)
    predictions = positive([""] * len(texts), texts)
    return sum(a == b for a, b in zip(predictions, labels, strict=True)) / len(texts), len(texts)


def _sentences(path: Path) -> tuple[list[str], list[int]]:
    """All texts and labels: 1 for `chosen`, 0 for `rejected`."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    texts = [row["chosen"] for row in rows] + [row["rejected"] for row in rows]
    return texts, [1] * len(rows) + [0] * len(rows)


def fit(texts: Sequence[str], labels: Sequence[int]) -> tuple[dict[str, int], Tensor]:
    """Vocabulary and [words + 1] weights (the last is the bias) of least penalised loss."""
    counts = Counter(word for text in texts for word in set(WORD.findall(text.lower())))
    vocabulary = {w: i for i, w in enumerate(sorted(w for w in counts if counts[w] >= MIN_COUNT))}
    inputs, targets = _counts(texts, vocabulary), torch.tensor(labels, dtype=torch.float32)
    weights = torch.zeros(len(vocabulary) + 1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = inputs @ weights[:-1] + weights[-1]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)
        loss = loss + L2 * weights[:-1].square().sum() / 2
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return vocabulary, weights.detach()


def _counts(texts: Sequence[str], vocabulary: dict[str, int]) -> Tensor:
    """Float [texts, words]: 1 if the word is in the text."""
    counts = torch.zeros(len(texts), len(vocabulary))
    for row, text in enumerate(texts):
        for word in WORD.findall(text.lower()):
            if word in vocabulary:
                counts[row, vocabulary[word]] = 1.0
    return counts


if __name__ == "__main__":
    share, sentences = accuracy(Path(sys.argv[1]))
    print(f"accuracy {share:.3f} on {sentences} sentences")
