"""Attention where a CPU trains under bf16 autocast."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "sdpa_written_out"
LONGEST = 1024  # tokens; probabilities are held for the backward pass, 2 bytes each
ALONE = {"dropout", "scaling", "position_ids", "use_cache"}  # what changes nothing here


def use_fast_cpu_attention(model: PreTrainedModel) -> None:
    """Let `model` (of transformers, with SDPA attention) train faster under bf16 on a CPU.

    PyTorch's flash attention for CPUs is slow there: at [4, 6, 128, 64] on one core forward and
    backward pass take 4.6 ms in float32, more in bf16, and 1.6 ms as bf16 products written
    out (torch 2.13, an AMD EPYC with avx512_bf16). What has a mask, or is longer than LONGEST,
    attends in float32. What needs no gradient stays as it is, and so does all of it on a GPU and
    without autocast.
    """
    if model.device.type != "cpu" or model.config._attn_implementation != "sdpa":
        return
    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)


def reads_packed_rows(module: nn.Module) -> bool:
    """Whether the models in it read tokens of several rows, end to end, as if each were alone.

    The attention here has to be all that goes from token to token: no recurrent state, and no
    window, which would have to be counted within a row.
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
    """What transformers calls; a mask without a row for each query says where packed rows lie.

    Such a mask, bool [1, 1, B, T], stands for B rows, each in its first columns, one after the
    other (`Sequences.cells`); what follows them is padding and attends to nothing. T may be the
    number of all tokens, rounded up as both are; B is below it, since no row is one token.
    """
    if attention_mask is None or attention_mask.shape[-2] == query.shape[2]:
        return _attend(module, query, key, value, attention_mask, **options)
    cells = attention_mask[0, 0]
    places = cells.flatten().nonzero()[:, 0]
    source = places.new_zeros(cells.numel())  # what a place is copied from; the first for padding
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


class _ToRows(torch.autograd.Function):
    """Tokens [N, …] at their `places`, long [n], of all, [len(source), …]; what is behind n goes.

    Padding is a copy of the first token. It comes behind the tokens of its row, which do not see
    it, and nothing of it is read: no gradient comes from there.
    """

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, places: Tensor, source: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.num_tokens = len(tokens)
        return tokens.index_select(0, source)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (places,) = ctx.saved_tensors
        return _with_zeros(grads[0].index_select(0, places), ctx.num_tokens), None, None


class _FromRows(torch.autograd.Function):
    """The inverse: [N, …], the tokens at `places` and zeros behind them."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, places: Tensor, num_tokens: int) -> Tensor:
        ctx.save_for_backward(places)
        ctx.num_places = len(rows)
        return _with_zeros(rows.index_select(0, places), num_tokens)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (places,) = ctx.saved_tensors
        grad = grads[0][: len(places)]
        rows = grad.new_zeros(ctx.num_places, *grad.shape[1:])
        return rows.index_copy_(0, places, grad), None, None


def _with_zeros(tokens: Tensor, length: int) -> Tensor:
    """[length, …]: zeros behind the tokens."""
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


def _is_plain(module: nn.Module, query: Tensor, key: Tensor, options: dict[str, Any]) -> bool:
    """Whether each token sees itself and all before it, and nothing else changes the result."""
    others = {name for name, option in options.items() if option is not None} - ALONE
    return (
        not others
        and not options.get("dropout")
        and getattr(module, "is_causal", True)
        and query.shape[2] == key.shape[2] <= LONGEST
    )


class _Attention(torch.autograd.Function):
    """O = P V with P = softmax(scale Q Kᵀ), causal; all [B, heads, T, head_dim], bf16.

    Sums are float32 within each product; scores and probabilities are rounded to bf16, as in
    transformers' eager attention. With dP = dO Vᵀ:  dS = P (dP - rowsum(P dP)),
    dQ = scale dS K,  dK = scale dSᵀ Q,  dV = Pᵀ dO.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        scores = query @ key.transpose(-1, -2)
        length = scores.shape[-1]
        unseen = scores.new_full((length, length), float("-inf")).triu_(1)
        probs = torch.softmax(scores.mul_(scale).add_(unseen), dim=-1)
        ctx.save_for_backward(query, key, value, probs)
        ctx.scale = scale
        return probs @ value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
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
