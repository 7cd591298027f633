"""Log-probabilities of chosen tokens."""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

# Logits processed at once: on a CPU 4 MiB of float32, which fits into a cache; on a GPU 128 MiB.
CHUNK, CHUNK_ON_GPU = 1 << 20, 1 << 25


def token_logprobs(logits: Tensor, tokens: Tensor, *, temperature: float) -> Tensor:
    """log softmax(logits / temperature) at `tokens`, in float32.

    Rollout, reference and update use one temperature: a policy sampled at 0.7 and trained at 1.0 is
    another policy, and its first ratio is not 1.

    logits: float [N, V]; tokens: long [N]. Returns float32 [N]. Differentiable once.
    """
    return _TokenLogprobs.apply(logits, tokens, temperature)  # type: ignore[no-untyped-call, no-any-return]


def token_logprobs_and_entropy(
    logits: Tensor, tokens: Tensor, *, temperature: float
) -> tuple[Tensor, Tensor]:
    """`token_logprobs`, and the entropy of the distribution at each token; nats, float32 [N] each.

    Both are differentiable. `head_logprobs_and_entropy` needs no table of all logits.
    """
    logprobs = torch.log_softmax(logits.float() / temperature, dim=1)
    entropies = -(logprobs.exp() * logprobs).sum(1)
    return logprobs.gather(1, tokens[:, None])[:, 0], entropies


class _Context(Protocol):
    """What the autograd function here uses of its context."""

    saved_tensors: tuple[Tensor, ...]
    temperature: float

    def save_for_backward(self, *tensors: Tensor) -> None: ...


class _TokenLogprobs(torch.autograd.Function):
    """Some rows at a time, so that [N, V] exists only as `logits` and as their gradient.

    With l = logits / T, p = softmax(l):  log p_k = l_k - logsumexp(l),
    d log p_k / d logits_j = ([j = k] - p_j) / T.
    """

    @staticmethod
    def forward(ctx: _Context, logits: Tensor, tokens: Tensor, temperature: float) -> Tensor:
        chosen = logits.gather(1, tokens[:, None])[:, 0].float() / temperature
        totals = torch.empty_like(chosen)
        for rows in row_chunks(logits):
            totals[rows] = torch.logsumexp(_scaled(logits[rows], temperature), dim=1)
        ctx.save_for_backward(logits, tokens, totals)
        ctx.temperature = temperature
        return chosen - totals

    @staticmethod
    def backward(ctx: _Context, *grads: Tensor) -> tuple[Tensor, None, None]:
        logits, tokens, totals = ctx.saved_tensors
        weights = grads[0][:, None] / ctx.temperature
        result = torch.empty_like(logits)
        for rows in row_chunks(logits):
            probs = (_scaled(logits[rows], ctx.temperature) - totals[rows, None]).exp_()
            change = probs.mul_(-weights[rows]).scatter_add_(1, tokens[rows, None], weights[rows])
            result[rows] = change
        return result, None, None


def _scaled(logits: Tensor, temperature: float) -> Tensor:
    return logits.float() if temperature == 1 else logits.float() / temperature


def row_chunks(logits: Tensor) -> Iterator[slice]:
    """Slices of the rows of logits [N, V] that are copied to float32 at once."""
    chunk = CHUNK if logits.device.type == "cpu" else CHUNK_ON_GPU
    yield from row_slices(len(logits), max(1, chunk // logits.shape[1]))


def row_slices(count: int, step: int) -> Iterator[slice]:
    """Slices of `step` of `count` rows, the last one shorter; one empty slice of none."""
    yield from (slice(start, start + step) for start in range(0, max(1, count), step))
