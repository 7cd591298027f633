"""A model over the chain's symbols, approximated by a Markov chain, which it nearly is."""

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
ENDED = len(SYMBOLS)  # the state after the end of a response


def starts(prompts: Sequence[str]) -> Array:
    """[S]: share of the prompts that end with each symbol."""
    last = [read(prompt)[-1] for prompt in prompts]
    return np.bincount(last, minlength=ENDED) / len(last)


def reference_of_chain(chain: Chain, start: Array) -> Reference:
    """The chain itself as a reference of LENGTH steps."""
    steps = np.broadcast_to(chain.transitions, (LENGTH, *chain.transitions.shape))
    return Reference(steps=steps, start=start, gains=chain.weights / SCALE)


def reference_of_model(
    folder: Path, chain: Chain, prompts: Sequence[str], responses: Sequence[str]
) -> tuple[Reference, float]:
    """The model as a Markov chain, and the KL that this approximation leaves out.

    p_t(u | s) is the mean probability that the model gives to u at step t after s. For an s that
    does not occur at step t it is the mean over all steps. The second value is the KL of the
    model from this chain, in nats per response: the model also depends a little on earlier symbols.

    responses: sampled from the model, one to each prompt.
    """
    probabilities = next_symbols(folder, prompts, responses)
    previous = previous_symbols(prompts, responses)
    sums, counts = np.zeros((LENGTH, ENDED + 1, ENDED + 1)), np.zeros((LENGTH, ENDED + 1))
    for t in range(LENGTH):
        np.add.at(sums[t], previous[:, t], probabilities[:, t])
        np.add.at(counts[t], previous[:, t], 1)
    pooled = sums.sum(0) / np.maximum(counts.sum(0), 1)[:, None]
    steps = np.where(counts[:, :, None] > 0, sums / np.maximum(counts, 1)[:, :, None], pooled)
    steps[:, ENDED] = np.eye(ENDED + 1)[ENDED]
    not_ended = previous < ENDED
    exact, approximated = probabilities[not_ended], steps[np.arange(LENGTH), previous][not_ended]
    ratios = np.divide(exact, approximated, where=exact > 0, out=np.ones_like(exact))
    residual_kl = (exact * np.log(ratios)).sum()
    start = np.append(starts(prompts), 0.0)
    gains = np.append(chain.weights / SCALE, 0.0)
    reference = Reference(steps=steps, start=start, gains=gains)
    return reference, float(residual_kl / len(responses))


@torch.no_grad()
def next_symbols(folder: Path, prompts: Sequence[str], responses: Sequence[str]) -> Array:
    """[N, LENGTH, S + 1]: probabilities of each symbol and of the end at each step."""
    chat, model = tokenizer_of_model(str(folder), "auto"), load_policy(folder)
    rows = [sequence_ids(chat, *pair) for pair in zip(prompts, responses, strict=True)]
    ids, _ = right_pad(rows, chat.pad_token_id)  # causal: right padding has no influence
    vocabulary = chat.tokenizer.get_vocab()
    columns = [*(vocabulary[symbol] for symbol in SYMBOLS), chat.end_token_id]
    parts = []
    for batch in torch.split(ids, 256):
        logits = model(input_ids=batch).logits[:, PROMPT_LENGTH:][:, :LENGTH]
        parts.append(logits[..., columns].double().softmax(-1))
    return torch.cat(parts).numpy()


def previous_symbols(prompts: Sequence[str], responses: Sequence[str]) -> Symbols:
    """[N, LENGTH]: the symbol before each step; ENDED after the end of a response."""
    rows = [
        [read(prompt)[-1], *read(response)]
        for prompt, response in zip(prompts, responses, strict=True)
    ]
    return np.array([(row + [ENDED] * LENGTH)[:LENGTH] for row in rows])
