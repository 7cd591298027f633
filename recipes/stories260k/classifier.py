"""An independent judge of sentiment: bag-of-words logistic regression on sentences of its own.

It shares neither data nor model with the reward model that PPO trains against. Its sentences are
the held-out half of docs/research/real-data.md, rows of a positive text (`chosen`) and a negative
one (`rejected`), in the file that SENTIMENT_JUDGE_DATA names (default runs/sentiment/judge.jsonl).

    python recipes/stories260k/classifier.py runs/sentiment/pairs.jsonl    # its accuracy there
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
L2 = 1e-3  # per weight, on the mean log-loss; chosen on a split of the judge's own sentences


def positive(prompts: Sequence[str], completions: Sequence[str], **columns: object) -> list[float]:
    """1.0 where the continuation reads as positive, 0.0 elsewhere: its mean is a share."""
    vocabulary, weights = _fitted()
    logits = _counts(completions, vocabulary) @ weights[:-1] + weights[-1]
    return [float(logit > 0) for logit in logits]


@functools.cache
def _fitted() -> tuple[dict[str, int], Tensor]:
    return fit(*_sentences(Path(os.environ.get("SENTIMENT_JUDGE_DATA", DATA))))


def accuracy(path: Path) -> tuple[float, int]:
    """Share of the file's sentences that the judge reads as their label says, and their number."""
    texts, labels = _sentences(path)
    found = positive([""] * len(texts), texts)
    return sum(a == b for a, b in zip(found, labels, strict=True)) / len(texts), len(texts)


def _sentences(path: Path) -> tuple[list[str], list[int]]:
    """Every `chosen` with label 1, every `rejected` with label 0."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    texts = [row["chosen"] for row in rows] + [row["rejected"] for row in rows]
    return texts, [1] * len(rows) + [0] * len(rows)


def fit(texts: Sequence[str], labels: Sequence[int]) -> tuple[dict[str, int], Tensor]:
    """Vocabulary and [words + 1] weights (the last is the bias) of least penalised log-loss."""
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
    """Float [texts, words]: 1 where the word stands in the text."""
    counts = torch.zeros(len(texts), len(vocabulary))
    for row, text in enumerate(texts):
        for word in WORD.findall(text.lower()):
            if word in vocabulary:
                counts[row, vocabulary[word]] = 1.0
    return counts


if __name__ == "__main__":
    share, sentences = accuracy(Path(sys.argv[1]))
    print(f"accuracy {share:.3f} on {sentences} sentences")
