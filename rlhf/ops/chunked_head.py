"""Log-probabilities of chosen tokens from hidden states, without a table of all their logits.

A language model's output layer makes logits [N, V] of hidden states [N, D]. Here one table [n, V]
exists, for some tokens at a time, and becomes the gradient with respect to it in place. The
backward pass computes the logits again, except for those of the last tokens. The size of the table
does not depend on N.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from rlhf.ops.logprobs import row_chunks, row_slices

# Tokens whose logits exist at once: as many as have LOGITS logits (128 MiB of float32 on a CPU, 256
# on a GPU), but at least MIN_ROWS. With fewer, reading the weight takes as long as the product.
LOGITS, LOGITS_ON_GPU, MIN_ROWS = 1 << 25, 1 << 26, 256
BLOCK = 1 << 22  # elements of a gradient that are added at once, to stay in a cache

Linear = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""x [n, in], W [out, in], b [out] or None -> x Wᵀ + b."""


def rows_at_once(vocabulary: int, device: torch.device) -> int:
    """Tokens whose logits exist at once."""
    return max(MIN_ROWS, (LOGITS if device.type == "cpu" else LOGITS_ON_GPU) // vocabulary)


def head_logprobs(
    states: Tensor,
    weight: Tensor,
    tokens: Tensor,
    *,
    temperature: float,
    bias: Tensor | None = None,
    softcap: float | None = None,
    linear: Linear | None = None,
) -> Tensor:
    """log softmax(z / temperature) at `tokens` with z = states weightᵀ + bias, float32 [N].

    With `softcap` c, z is c tanh(z / c) (Gemma 2, https://arxiv.org/abs/2408.00118). Products are
    computed in autocast's type where it is on, everything else in float32. Gradients of `weight`
    are summed in float32. Differentiable once. If only `states` has a gradient, the forward pass
    computes it, and the logits are not computed again.

    Args:
        states: float [N, D], inputs of the output layer.
        weight: float [V, D], its weight.
        tokens: long [N].
        temperature: divides the logits after soft-capping.
        bias: float [V], of the output layer.
        softcap: bound of the logits; None for none.
        linear: computes products; None for `torch.nn.functional.linear`.
    """
    options = _options(states, weight, temperature, softcap, linear, entropy=False)
    trained = weight.requires_grad or (bias is not None and bias.requires_grad)
    if torch.is_grad_enabled() and states.requires_grad and not trained:
        return _FrozenHead.apply(states, weight, bias, tokens, options)  # type: ignore[no-untyped-call, no-any-return]
    logprobs, _ = _Head.apply(states, weight, bias, tokens, options)  # type: ignore[no-untyped-call]
    return logprobs  # type: ignore[no-any-return]


def head_logprobs_and_entropy(
    states: Tensor,
    weight: Tensor,
    tokens: Tensor,
    *,
    temperature: float,
    bias: Tensor | None = None,
    softcap: float | None = None,
    linear: Linear | None = None,
) -> tuple[Tensor, Tensor]:
    """`head_logprobs`, and the entropy of the distribution at each token; nats, float32 [N] each.

    Both are differentiable once. The arguments are those of `head_logprobs`.
    """
    options = _options(states, weight, temperature, softcap, linear, entropy=True)
    return _Head.apply(states, weight, bias, tokens, options)  # type: ignore[no-untyped-call, no-any-return]


@dataclass(frozen=True, kw_only=True)
class _Options:
    """How logits are computed and what becomes of them."""

    dtype: torch.dtype  # of the products
    temperature: float
    softcap: float | None
    linear: Linear
    entropy: bool


def _options(
    states: Tensor,
    weight: Tensor,
    temperature: float,
    softcap: float | None,
    linear: Linear | None,
    *,
    entropy: bool,
) -> _Options:
    device, dtype = states.device.type, weight.dtype
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
    return _Options(
        dtype=dtype,
        temperature=temperature,
        softcap=softcap,
        linear=linear or functional.linear,
        entropy=entropy,
    )


class _Context(Protocol):
    """What the autograd functions here use of their context."""

    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]
    options: _Options
    dtypes: tuple[torch.dtype, torch.dtype]
    last: Tensor | None

    def save_for_backward(self, *tensors: Tensor | None) -> None: ...
    def set_materialize_grads(self, value: bool) -> None: ...


class _Head(torch.autograd.Function):
    """Log-probs and entropies; the backward pass computes the logits again, the last ones first.

    With l the scaled logits, p = softmax(l) and H the entropy:
    d log p_k / d l_j = [j = k] - p_j,  dH / d l_j = -p_j (log p_j + H).
    """

    @staticmethod
    def forward(
        ctx: _Context,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        tokens: Tensor,
        options: _Options,
    ) -> tuple[Tensor, Tensor | None]:
        inputs, matrix, offset = _cast(options, states, weight, bias)
        sums = []
        last = inputs[:0]
        for rows in _slices(tokens, weight):
            del last  # or two tables would exist
            last = options.linear(inputs[rows], matrix, offset)
            sums.append(_sums(last, tokens[rows], options))
        logprobs, totals, entropies = (torch.cat(parts) for parts in zip(*sums, strict=True))
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(inputs, matrix, offset, tokens, totals, entropies)
        ctx.options, ctx.dtypes, ctx.last = options, (states.dtype, weight.dtype), last
        return logprobs, entropies if options.entropy else None

    @staticmethod
    def backward(ctx: _Context, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        inputs, matrix, offset, tokens, totals, entropies = ctx.saved_tensors
        wants_states, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        options, (states_dtype, weight_dtype) = ctx.options, ctx.dtypes
        of_logprobs = torch.zeros_like(totals) if grads[0] is None else grads[0]
        of_states = torch.empty(inputs.shape, dtype=states_dtype, device=inputs.device)
        shape = matrix.shape if wants_weight else (0, 0)
        of_weight = torch.zeros(shape, dtype=torch.float32, device=matrix.device)
        of_bias = torch.zeros(len(matrix), dtype=torch.float32, device=matrix.device)
        last, ctx.last = ctx.last, None  # a second backward pass computes these logits again
        for rows in reversed(_slices(tokens, matrix)):
            change = options.linear(inputs[rows], matrix, offset) if last is None else last
            last = None
            entropy = None if grads[1] is None else (entropies[rows], grads[1][rows])
            _differentiate(change, tokens[rows], totals[rows], of_logprobs[rows], entropy, options)
            if wants_states:
                of_states[rows] = options.linear(change, matrix.T, None)
            if wants_weight:
                _add_products(of_weight, change, inputs[rows], options)
            if wants_bias:
                of_bias += change.sum(0, dtype=torch.float32)
            del change  # or two tables would exist
        return (
            of_states if wants_states else None,
            of_weight.to(weight_dtype) if wants_weight else None,
            of_bias.to(weight_dtype) if wants_bias else None,
            None,
            None,
        )


class _FrozenHead(torch.autograd.Function):
    """Log-probs with a gradient of the states alone, which the forward pass computes.

    log p depends on one row of states each: its gradient is a vector per token, times a number
    that the backward pass gets.
    """

    @staticmethod
    def forward(
        ctx: _Context,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        tokens: Tensor,
        options: _Options,
    ) -> Tensor:
        inputs, matrix, offset = _cast(options, states, weight, bias)
        logprobs = torch.empty(len(tokens), device=states.device)
        gradient = torch.empty_like(states)
        ones = torch.ones_like(logprobs)
        for rows in _slices(tokens, weight):
            change = options.linear(inputs[rows], matrix, offset)
            logprobs[rows], totals, _ = _sums(change, tokens[rows], options)
            _differentiate(change, tokens[rows], totals, ones[rows], None, options)
            gradient[rows] = options.linear(change, matrix.T, None)
            del change  # or two tables would exist
        ctx.save_for_backward(gradient)
        return logprobs

    @staticmethod
    def backward(ctx: _Context, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return (gradient * grads[0][:, None]).to(gradient.dtype), None, None, None, None


def _slices(tokens: Tensor, weight: Tensor) -> list[slice]:
    """Slices of the tokens, all but the first of them of the largest size."""
    step = rows_at_once(len(weight), weight.device)
    first = len(tokens) % step or step
    starts = range(first, len(tokens), step)
    return [slice(0, first), *(slice(start, start + step) for start in starts)]


def _cast(
    options: _Options, states: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    offset = None if bias is None else bias.to(options.dtype)
    return states.to(options.dtype), weight.to(options.dtype), offset


def _sums(logits: Tensor, tokens: Tensor, options: _Options) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probs, log of the sum of exponentials, and entropies (or nothing), float32 [n] each."""
    totals = torch.empty(len(logits), device=logits.device)
    logprobs = torch.empty_like(totals)
    entropies = torch.empty_like(totals if options.entropy else totals[:0])
    for part in row_chunks(logits):
        scaled = _scaled(logits[part], options)
        totals[part] = torch.logsumexp(scaled, dim=1)
        logprobs[part] = scaled.gather(1, tokens[part, None])[:, 0] - totals[part]
        if options.entropy:
            probs = (scaled - totals[part, None]).exp_()
            entropies[part] = totals[part] - probs.mul_(scaled).sum(1)
    return logprobs, totals, entropies


def _differentiate(
    logits: Tensor,
    tokens: Tensor,
    totals: Tensor,
    of_logprobs: Tensor,
    entropy: tuple[Tensor, Tensor] | None,
    options: _Options,
) -> None:
    """Replace the logits [n, V] by the gradient with respect to them.

    Args:
        logits: before soft-capping and temperature.
        tokens: long [n].
        totals: logs of the sums of exponentials, float32 [n].
        of_logprobs: the gradient with respect to log-probs, float32 [n].
        entropy: entropies, and the gradient with respect to them, float32 [n] each.
        options: how logits become log-probs.
    """
    for part in row_chunks(logits):
        logprobs = _scaled(logits[part], options) - totals[part, None]
        change = logprobs.exp()
        if entropy is None:
            change.mul_(-of_logprobs[part, None])
        else:
            own, gradient = (values[part, None] for values in entropy)
            change.mul_(-of_logprobs[part, None] - gradient * (logprobs + own))
        change.scatter_add_(1, tokens[part, None], of_logprobs[part, None].float())
        if options.softcap is not None:
            change.mul_(1 - torch.tanh(logits[part].float() / options.softcap) ** 2)
        logits[part] = change.div_(options.temperature)


def _scaled(logits: Tensor, options: _Options) -> Tensor:
    """Logits after soft-capping and temperature, float32; for both off, maybe `logits` itself."""
    scaled = logits.float()
    if options.softcap is not None:
        scaled = options.softcap * torch.tanh(scaled / options.softcap)
    return scaled if options.temperature == 1 else scaled / options.temperature


def _add_products(total: Tensor, change: Tensor, inputs: Tensor, options: _Options) -> None:
    """Add changeᵀ inputs to `total` [V, D], float32, some rows at a time."""
    for rows in row_slices(len(total), max(1, BLOCK // total.shape[1])):
        total[rows] += options.linear(change[:, rows].T, inputs.T, None)
