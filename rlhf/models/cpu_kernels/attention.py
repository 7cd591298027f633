"""Faster attention for training under bf16 autocast on a CPU."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "sdpa_written_out"
MAX_LENGTH = 1024  # tokens; probabilities are saved for the backward pass, 2 bytes each
# Options that do not change the mask.
HARMLESS = {"dropout", "scaling", "position_ids", "use_cache"}


def use_fast_cpu_attention(model: PreTrainedModel) -> None:
    """Replace the SDPA attention of `model` by one that trains faster under bf16 on a CPU.

    PyTorch's flash attention for CPUs is slow there: at [4, 6, 128, 64] on one core, forward and
    backward pass take 4.6 ms in float32, more in bf16, and 1.6 ms as explicit bf16 products (torch
    2.13, an AMD EPYC with avx512_bf16). Rows with a mask, or longer than MAX_LENGTH, use float32.
    Calls without gradient, without autocast or on a GPU use PyTorch's attention.
    """
    if model.device.type != "cpu" or model.config._attn_implementation != "sdpa":
        return
    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)


def reads_packed_rows(module: nn.Module) -> bool:
    """Whether the models in it read packed rows as if each were alone.

    Only this attention may connect tokens: no recurrent state, and no window, which would have to
    be counted within a row.
    """
    models = [part for part in module.modules() if isinstance(part, PreTrainedModel)]
    return bool(models) and all(map(_reads_packed_rows, models))


def _reads_packed_rows(model: PreTrainedModel) -> bool:
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return (
        model.config._attn_implementation == NAME
        and not getattr(model, "_is_stateful", False)
        and kinds == {"full_attention"}
        and getattr(config, "sliding_window", None) is None
    )


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """The attention function of transformers; a mask without a row per query marks packed rows.

    Such a mask, bool [1, 1, B, T], describes B rows, each in its first columns, in order
    (`Sequences.cells`); padding follows them and attends to nothing. T may equal the number of all
    tokens, as both are rounded up; B is smaller, since no row is a single token.
    """
    if attention_mask is None or attention_mask.shape[-2] == query.shape[2]:
        return _attend(module, query, key, value, attention_mask, **options)
    cells = attention_mask[0, 0]
    places = cells.flatten().nonzero()[:, 0]
    source = places.new_zeros(cells.numel())  # the token of each cell; the first for padding
    source[places] = torch.arange(len(places), device=places.device)
    query_rows, key_rows, value_rows = (
        _to_rows(part, cells, places, source) for part in (query, key, value)
    )
    output, _ = _attend(module, query_rows, key_rows, value_rows, None, **options)
    tokens = _FromRows.apply(output.flatten(0, 1), places, query.shape[2])  # type: ignore[no-untyped-call]
    return tokens[None], None


def _to_rows(packed: Tensor, cells: Tensor, places: Tensor, source: Tensor) -> Tensor:
    """[B, heads, T, head_dim] of [1, heads, N, head_dim]."""
    rows: Tensor = _ToRows.apply(packed[0].transpose(0, 1), places, source)  # type: ignore[no-untyped-call]
    return rows.view(*cells.shape, *rows.shape[1:]).transpose(1, 2)


class _Context(Protocol):
    """What the autograd functions here use of their context."""

    saved_tensors: tuple[Tensor, ...]
    num_tokens: int
    num_places: int
    scale: float

    def save_for_backward(self, *tensors: Tensor) -> None: ...


class _ToRows(torch.autograd.Function):
    """The first n tokens of [N, …] at their `places`, long [n], in all cells [len(source), …].

    Padding is a copy of the first token. It follows the tokens of its row, which do not attend to
    it, and it is not read: it has no gradient.
    """

    @staticmethod
    def forward(ctx: _Context, tokens: Tensor, places: Tensor, source: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.num_tokens = len(tokens)
        return tokens.index_select(0, source)

    @staticmethod
    def backward(ctx: _Context, *grads: Tensor) -> tuple[Tensor, None, None]:
        (places,) = ctx.saved_tensors
        return _with_zeros(grads[0].index_select(0, places), ctx.num_tokens), None, None


class _FromRows(torch.autograd.Function):
    """The inverse: [N, …], the tokens at `places` followed by zeros."""

    @staticmethod
    def forward(ctx: _Context, rows: Tensor, places: Tensor, num_tokens: int) -> Tensor:
        ctx.save_for_backward(places)
        ctx.num_places = len(rows)
        return _with_zeros(rows.index_select(0, places), num_tokens)

    @staticmethod
    def backward(ctx: _Context, *grads: Tensor) -> tuple[Tensor, None, None]:
        (places,) = ctx.saved_tensors
        grad = grads[0][: len(places)]
        rows = grad.new_zeros(ctx.num_places, *grad.shape[1:])
        return rows.index_copy_(0, places, grad), None, None


def _with_zeros(tokens: Tensor, length: int) -> Tensor:
    """The tokens followed by zeros: [length, …]."""
    missing = length - len(tokens)
    return torch.cat([tokens, tokens.new_zeros(missing, *tokens.shape[1:])]) if missing else tokens


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    if not (torch.is_grad_enabled() and torch.is_autocast_enabled("cpu")):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    with torch.autocast("cpu", enabled=False):
        if attention_mask is None and _is_plain(module, query, key, options):
            groups = query.shape[1] // key.shape[1]
            parts = (query, repeat_kv(key, groups), repeat_kv(value, groups))
            scale = options.get("scaling") or query.shape[-1] ** -0.5
            output = _Attention.apply(*(part.bfloat16() for part in parts), scale)  # type: ignore[no-untyped-call]
            return output.transpose(1, 2), None
        output, _ = sdpa_attention_forward(
            module, query.float(), key.float(), value.float(), attention_mask, **options
        )
    return output, None


def _is_plain(module: nn.Module, query: Tensor, key: Tensor, options: Mapping[str, object]) -> bool:
    """Whether attention is causal without further options."""
    others = {name for name, option in options.items() if option is not None} - HARMLESS
    return (
        not others
        and not options.get("dropout")
        and getattr(module, "is_causal", True)
        and query.shape[2] == key.shape[2] <= MAX_LENGTH
    )


class _Attention(torch.autograd.Function):
    """O = P V with P = softmax(scale Q Kᵀ), causal; all [B, heads, T, head_dim], bf16.

    Sums are float32 within each product; scores and probabilities are rounded to bf16, as in
    transformers' eager attention. With dP = dO Vᵀ:  dS = P (dP - rowsum(P dP)),
    dQ = scale dS K,  dK = scale dSᵀ Q,  dV = Pᵀ dO.
    """

    @staticmethod
    def forward(ctx: _Context, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        scores = query @ key.transpose(-1, -2)
        length = scores.shape[-1]
        unseen = scores.new_full((length, length), float("-inf")).triu_(1)
        probs = torch.softmax(scores.mul_(scale).add_(unseen), dim=-1)
        ctx.save_for_backward(query, key, value, probs)
        ctx.scale = scale
        return probs @ value

    @staticmethod
    def backward(ctx: _Context, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value, probs = ctx.saved_tensors
        change = torch._softmax_backward_data(
            grads[0] @ value.transpose(-1, -2), probs, -1, probs.dtype
        )
        return (
            (change @ key).mul_(ctx.scale),
            (change.transpose(-1, -2) @ query).mul_(ctx.scale),
            probs.transpose(-1, -2) @ grads[0],
            None,
        )
