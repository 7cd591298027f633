"""The minimal operations and memory traffic of an iteration, counted."""

from dataclasses import dataclass
from typing import Protocol

from benchmarks.hardware_rates import Rates
from benchmarks.workloads import Workload

FLOAT32 = 4
# AdamW reads weight, gradient and both moments and writes weight and moments; the backward pass
# writes the gradient, clipping reads and writes it.
OPTIMIZER_TOUCHES = 10


class Shape(Protocol):
    """The sizes of a decoder whose heads together are as wide as its hidden states."""

    @property
    def num_layers(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def intermediate_size(self) -> int: ...
    @property
    def num_heads(self) -> int: ...
    @property
    def num_kv_heads(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class Work:
    """Operations and bytes of one iteration in mode `separate`."""

    update_flops: float
    flops: float  # all phases
    bytes: float  # all phases


def count_work(workload: Workload, *, prompt_tokens: float, response_tokens: float) -> Work:
    """Multiplications and additions (a matmul's 2 n m k), and bytes to and from memory.

    No padding, logits only at response tokens, causal attention, a backward pass of twice the
    forward pass, no recomputation. Bytes: each decoding step reads the policy and the keys and
    values so far, each optimizer step reads and writes the state of both models. Activations are
    left out because they could stay in a cache.

    prompt_tokens, response_tokens: of the whole batch.
    """
    trunk, output = trunk_weights(workload), workload.hidden_size * workload.vocab_size
    tokens, rows = prompt_tokens + response_tokens, workload.batch_size
    trunk_flops = forward_flops(workload, tokens=tokens, rows=rows)
    head = 2 * output * response_tokens
    rollout, score = (
        trunk_flops + head,
        (trunk_flops + head) + 2 * trunk_flops,
    )  # reference; critic and reward
    update = workload.num_epochs * 3 * ((trunk_flops + head) + trunk_flops)
    steps = workload.num_epochs * workload.num_minibatches
    decode_steps = response_tokens / rows
    parameters = trunk + 2 * output
    key_values = key_value_bytes(workload, FLOAT32) * _pairs(tokens, rows)
    moved = decode_steps * (trunk + output) * FLOAT32 + key_values
    moved += steps * OPTIMIZER_TOUCHES * FLOAT32 * (2 * parameters - output)
    return Work(update_flops=update, flops=rollout + score + update, bytes=moved)


def forward_flops(shape: Shape, *, tokens: float, rows: float, logits: float = 0) -> float:
    """Operations of a forward pass over `rows` causal rows of equal length.

    Args:
        shape: the decoder.
        tokens: of all rows.
        rows: number of rows.
        logits: positions at which the output layer is computed.
    """
    # Attention scores and the weighted sum: 2 * 2 D per pair of tokens.
    attention = 4 * shape.hidden_size * _pairs(tokens, rows) * shape.num_layers
    output = shape.hidden_size * shape.vocab_size
    return 2 * trunk_weights(shape) * tokens + attention + 2 * output * logits


def trunk_weights(shape: Shape) -> int:
    """Number of weights in the layers' matrices, without embeddings and norms."""
    size = shape.hidden_size
    attention = 2 * size * size + 2 * size * kv_size(shape)
    return shape.num_layers * (attention + 3 * size * shape.intermediate_size)


def key_value_bytes(shape: Shape, itemsize: int) -> int:
    """Bytes of the keys and values of one token in all layers."""
    return 2 * shape.num_layers * kv_size(shape) * itemsize


def kv_size(shape: Shape) -> int:
    """Width of the keys, and of the values, of one layer."""
    return shape.hidden_size * shape.num_kv_heads // shape.num_heads


def roofline_seconds(work: Work, rates: Rates, *, bf16: bool) -> tuple[float, float]:
    """Seconds for the counted operations, and seconds for the counted bytes."""
    matmul = rates.matmul_bf16 if bf16 else rates.matmul_fp32
    return work.flops / matmul, work.bytes / rates.copy


def _pairs(tokens: float, rows: float) -> float:
    """Pairs of a token and one that it attends to."""
    return (tokens / rows) ** 2 / 2 * rows
