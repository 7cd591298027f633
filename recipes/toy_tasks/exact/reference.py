"""A model over the chain's symbols as what it nearly is: a Markov chain."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from recipes.toy_tasks.exact.best import Reference
from recipes.toy_tasks.markov.chain import LENGTH, PROMPT_LENGTH, SCALE, SYMBOLS, Chain, read
from rlhf.data.collate import right_pad
from rlhf.data.tokenization.chat import sequence_ids
from rlhf.models.load import load_policy
from rlhf.models.tokenizer import tokenizer_of_model

Array = NDArray[np.float64]
Symbols = NDArray[np.int64]
GONE = len(SYMBOLS)  # what stands where an answer has ended


def starts(prompts: Sequence[str]) -> Array:
    """[S]: how often each symbol ends a prompt, as shares."""
    last = [read(prompt)[-1] for prompt in prompts]
    return np.bincount(last, minlength=GONE) / len(last)


def reference_of_chain(chain: Chain, start: Array) -> Reference:
    """The chain itself, for LENGTH steps."""
    steps = np.broadcast_to(chain.transitions, (LENGTH, *chain.transitions.shape))
    return Reference(steps=steps, start=start, gains=chain.weights / SCALE)


def reference_of_model(
    folder: Path, chain: Chain, prompts: Sequence[str], answers: Sequence[str]
) -> tuple[Reference, float]:
    """The model as a chain, and what that leaves out of it.

    answers: the model's own to `prompts`, one each. p_t(u | s) is the mean of what it gives to u
    at step t after s in them; of an s that never stood there, its mean over all steps. Left out is
    the KL from that chain of what it really gives, nats an answer: it looks further back, a little.
    """
    given = next_symbols(folder, prompts, answers)
    before = symbols_before(prompts, answers)
    sums, counts = np.zeros((LENGTH, GONE + 1, GONE + 1)), np.zeros((LENGTH, GONE + 1))
    for t in range(LENGTH):
        np.add.at(sums[t], before[:, t], given[:, t])
        np.add.at(counts[t], before[:, t], 1)
    pooled = sums.sum(0) / np.maximum(counts.sum(0), 1)[:, None]
    steps = np.where(counts[:, :, None] > 0, sums / np.maximum(counts, 1)[:, :, None], pooled)
    steps[:, GONE] = np.eye(GONE + 1)[GONE]
    reached = before < GONE
    of, to = given[reached], steps[np.arange(LENGTH), before][reached]
    left_out = (of * np.log(np.divide(of, to, where=of > 0, out=np.ones_like(of)))).sum()
    start = np.append(starts(prompts), 0.0)
    gains = np.append(chain.weights / SCALE, 0.0)
    reference = Reference(steps=steps, start=start, gains=gains)
    return reference, float(left_out / len(answers))


@torch.no_grad()
def next_symbols(folder: Path, prompts: Sequence[str], answers: Sequence[str]) -> Array:
    """[N, LENGTH, S + 1] probabilities of each symbol, and of the end, at each step."""
    chat, model = tokenizer_of_model(str(folder), "auto"), load_policy(folder)
    rows = [sequence_ids(chat, *pair) for pair in zip(prompts, answers, strict=True)]
    ids, _ = right_pad(rows, chat.pad_token_id)  # causal: padding after a row is not looked at
    vocabulary = chat.tokenizer.get_vocab()
    columns = [*(vocabulary[symbol] for symbol in SYMBOLS), chat.end_token_id]
    found = []
    for part in torch.split(ids, 256):
        logits = model(input_ids=part).logits[:, PROMPT_LENGTH:][:, :LENGTH]
        found.append(logits[..., columns].double().softmax(-1))
    return torch.cat(found).numpy()


def symbols_before(prompts: Sequence[str], answers: Sequence[str]) -> Symbols:
    """[N, LENGTH]: what stands before each step; GONE where the answer has ended."""
    rows = [
        [read(prompt)[-1], *read(answer)] for prompt, answer in zip(prompts, answers, strict=True)
    ]
    return np.array([(row + [GONE] * LENGTH)[:LENGTH] for row in rows])
