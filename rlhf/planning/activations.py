"""Bytes of activations, counted from what the layers of a Llama-like decoder keep.

Letters: D hidden size, I intermediate size, Q and K widths of the queries and of the keys. Sizes
are bytes per token. Under autocast b = 2 for what matrix products read and write, else b = 4; the
residual stream and the norms are float32.
"""

from dataclasses import dataclass

from rlhf.models.cpu_kernels.attention import MAX_LENGTH
from rlhf.models.shape import ModelShape, kv_size, query_size

FP32, BF16 = 4, 2


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """How forward passes compute."""

    on_gpu: bool
    bf16: bool
    row_length: float  # tokens of a row, padded
    adapters: bool = False  # LoRA on a frozen model
    fast_layers: bool = False  # norms and LoRA layers of rlhf/models/cpu_kernels/
    masked: bool = False  # attention has a mask: packed rows in SFT

    @property
    def itemsize(self) -> int:
        """Bytes of a number in matrix products."""
        return BF16 if self.bf16 else FP32


def saved_bytes(
    shape: ModelShape, how: Numerics, *, tokens: float, checkpointing: bool = False
) -> float:
    """What a forward pass saves for its backward pass, without logits.

    With gradient checkpointing: the input of every layer, and all of one layer.
    """
    layer = layer_bytes(shape, how)
    layers = shape.num_layers * layer
    if checkpointing:
        layers = shape.num_layers * FP32 * shape.hidden_size + layer
    final_norm = 2 * FP32 * shape.hidden_size
    return tokens * (layers + final_norm)


def layer_bytes(shape: ModelShape, how: Numerics) -> float:
    """What a layer saves for the backward pass, per token.

    - Each of two norms: its input (4 D). PyTorch's operators also keep the normalised input (4 D)
      where the weight of the norm is trained.
    - The inputs of the projections. In float32 they share the output of the norm (4 D each).
      Autocast makes a bf16 copy for each of five projections (2 D each), unless a fast norm makes
      one for each norm.
    - Attention, see `attention_bytes`.
    - MLP: gate, its activation, up, and their product (b I each); without a gate two of them.
    """
    size = shape.hidden_size
    copies = 2 if not how.bf16 or how.fast_layers else 5
    norms = 2 * FP32 * size + copies * how.itemsize * size
    if not how.fast_layers and not how.adapters:
        norms += 2 * FP32 * size
    numbers = 4 if shape.num_mlp_matrices == 3 else 2
    mlp = numbers * how.itemsize * shape.intermediate_size
    return norms + attention_bytes(shape, how) + mlp


def attention_bytes(shape: ModelShape, how: Numerics) -> float:
    """What attention saves, per token: queries, keys, values and its output.

    On a GPU a fused kernel. On a CPU under autocast explicit products, which also save the
    probabilities, for rows of up to MAX_LENGTH tokens without a mask; else PyTorch's kernel in
    float32, whose output is copied to bf16.
    """
    queries, keys = query_size(shape), kv_size(shape)
    repeated = 2 * queries  # keys and values, repeated for the queries that share them
    if how.on_gpu:
        return how.itemsize * (2 * queries + (repeated if how.masked else 2 * keys))
    if not how.bf16:
        return FP32 * (2 * queries + (repeated if how.masked else 2 * keys))
    if how.masked or how.row_length > MAX_LENGTH:
        return FP32 * (2 * queries + repeated) + BF16 * queries
    probabilities = BF16 * shape.num_heads * how.row_length
    return BF16 * (2 * queries + repeated) + probabilities


def backward_bytes(shape: ModelShape, how: Numerics) -> float:
    """Gradients that the backward pass of one layer holds at a time, per token.

    Those of the MLP's product, activation and gate, and two of the residual stream.
    """
    return 3 * how.itemsize * shape.intermediate_size + 2 * FP32 * shape.hidden_size


def forward_bytes(shape: ModelShape, how: Numerics) -> float:
    """What a forward pass without gradients holds at a time, per token.

    The MLP's gate, up and their product, and three tensors of the residual stream.
    """
    return 3 * how.itemsize * shape.intermediate_size + 3 * FP32 * shape.hidden_size
