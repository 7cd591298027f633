"""Faster attention for training under bf16 autocast on a CPU."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

from rlhf.models.cpu_kernels.packed_mask import packed_mask

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
    AttentionMaskInterface.register(NAME, packed_mask)
    model.set_attn_implementation(NAME)


def reads_packed_rows(modules: Iterable[nn.Module]) -> bool:
    """Whether the models among the modules read packed rows as if each were alone.

    Only this attention may connect tokens: no recurrent state, and no window, which would have to
    be counted within a row.
    """
    models = [module for module in modules if isinstance(module, PreTrainedModel)]
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
    """The attention function of transformers; a mask of integers marks packed rows.

    Such a mask, long [1, 1, B, T], has the place of each token of B rows among the N packed ones,
    -1 for padding (`Sequences.cells`, `packed_mask`). Rows may share the tokens of a prompt.
    """
    if attention_mask is None or attention_mask.dtype != torch.long:
        return _attend(module, query, key, value, attention_mask, **options)
    layout = _Layout(attention_mask[0, 0])
    query_rows = layout.to_rows(query, shared=False)
    key_rows, value_rows = (layout.to_rows(part, shared=layout.shares) for part in (key, value))
    output, _ = _attend(module, query_rows, key_rows, value_rows, None, **options)
    tokens = _FromRows.apply(output.flatten(0, 1), layout.first, query.shape[2])  # type: ignore[no-untyped-call]
    return tokens[None], None


class _Layout:
    """Where the tokens of packed rows are in a grid of rows, and back."""

    def __init__(self, cells: Tensor) -> None:
        flat = cells.flatten()
        used = (flat >= 0).nonzero()[:, 0]  # cells with a token
        num_tokens = int(flat.max()) + 1
        self.shape = cells.shape
        self.shares = len(used) > num_tokens
        self.source = flat.clamp(min=0)  # the token of each cell; the first for padding
        self.used = used
        self.first = used  # the first cell of each token
        if self.shares:
            firsts = used.new_full((num_tokens,), cells.numel())
            self.first = firsts.scatter_reduce(0, flat[used], used, "amin")

    def to_rows(self, packed: Tensor, *, shared: bool) -> Tensor:
        """[B, heads, T, head_dim] of [1, heads, N, head_dim].

        shared: whether every cell of a token has a gradient, or its first cell alone.
        """
        tokens = packed[0].transpose(0, 1)
        if shared:
            rows: Tensor = _ToSharedRows.apply(tokens, self.used, self.source)  # type: ignore[no-untyped-call]
        else:
            rows = _ToRows.apply(tokens, self.first, self.source)  # type: ignore[no-untyped-call]
        return rows.view(*self.shape, *rows.shape[1:]).transpose(1, 2)


class _Context(Protocol):
    """What the autograd functions here use of their context."""

    saved_tensors: tuple[Tensor, ...]
    num_tokens: int
    num_places: int
    scale: float

    def save_for_backward(self, *tensors: Tensor) -> None: ...


class _ToRows(torch.autograd.Function):
    """The token `source` of [N, …] in each cell; gradients come from the n `places` alone.

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


class _ToSharedRows(torch.autograd.Function):
    """`_ToRows` with the gradients of all cells that have a token, `used`, summed in float32."""

    @staticmethod
    def forward(ctx: _Context, tokens: Tensor, used: Tensor, source: Tensor) -> Tensor:
        ctx.save_for_backward(used, source)
        ctx.num_tokens = len(tokens)
        return tokens.index_select(0, source)

    @staticmethod
    def backward(ctx: _Context, *grads: Tensor) -> tuple[Tensor, None, None]:
        used, source = ctx.saved_tensors
        cells = grads[0].index_select(0, used).float()
        total = cells.new_zeros(ctx.num_tokens, *cells.shape[1:])
        total.index_add_(0, source[used], cells)
        return total.to(grads[0].dtype), None, None


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
