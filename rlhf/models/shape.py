"""The sizes of a decoder, and what follows from them: weights, operations, keys and values."""

from dataclasses import dataclass
from typing import Protocol

GIB = 1 << 30


class Shape(Protocol):
    """The sizes of a decoder."""

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
    def head_size(self) -> int: ...
    @property
    def num_mlp_matrices(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """A decoder. The sizes are those of its config.json."""

    name: str
    num_layers: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    vocab_size: int
    tied: bool  # whether the output layer is the embedding
    bias: bool = False  # whether the projections to queries, keys and values have biases
    head_dim: int | None = None  # None: the heads together are as wide as the hidden states
    num_mlp_matrices: int = 3  # 2 without a gate
    extra: int = 0  # parameters that the sizes above do not give

    @property
    def head_size(self) -> int:
        """Width of a head."""
        return self.head_dim or self.hidden_size // self.num_heads

    @property
    def embedding(self) -> int:
        """Weights of the embedding, and of the output layer."""
        return self.vocab_size * self.hidden_size

    @property
    def matrices(self) -> int:
        """Weights of the layers' linear modules."""
        return trunk_weights(self)

    @property
    def products(self) -> int:
        """Weights that matrix products read: those of the layers and of the output layer."""
        return self.matrices + self.embedding

    @property
    def parameters(self) -> int:
        """Of the language model."""
        return self.value_parameters - self.hidden_size + (0 if self.tied else self.embedding)

    @property
    def value_parameters(self) -> int:
        """Of a critic or reward model: the trunk and a head of one output."""
        norms = (2 * self.num_layers + 1) * self.hidden_size
        width = query_size(self) + 2 * kv_size(self)
        biases = self.num_layers * width if self.bias else 0
        return self.embedding + self.matrices + norms + biases + self.hidden_size + self.extra


def forward_flops(shape: Shape, *, tokens: float, rows: float, logits: float = 0) -> float:
    """Operations of a forward pass over `rows` causal rows of equal length.

    Args:
        shape: the decoder.
        tokens: of all rows.
        rows: number of rows.
        logits: positions at which the output layer is computed.
    """
    # Attention scores and the weighted sum: 2 * 2 * width of the queries per pair of tokens.
    attention = 4 * query_size(shape) * attended_pairs(tokens, rows) * shape.num_layers
    output = shape.hidden_size * shape.vocab_size
    return 2 * trunk_weights(shape) * tokens + attention + 2 * output * logits


def trunk_weights(shape: Shape) -> int:
    """Number of weights in the layers' matrices, without embeddings and norms."""
    size = shape.hidden_size
    attention = 2 * size * (query_size(shape) + kv_size(shape))
    mlp = shape.num_mlp_matrices * size * shape.intermediate_size
    return shape.num_layers * (attention + mlp)


def key_value_bytes(shape: Shape, itemsize: int) -> int:
    """Bytes of the keys and values of one token in all layers."""
    return 2 * shape.num_layers * kv_size(shape) * itemsize


def query_size(shape: Shape) -> int:
    """Width of the queries of one layer."""
    return shape.num_heads * shape.head_size


def kv_size(shape: Shape) -> int:
    """Width of the keys, and of the values, of one layer."""
    return shape.num_kv_heads * shape.head_size


def attended_pairs(tokens: float, rows: float) -> float:
    """Pairs of a token and one that it attends to, in causal rows of equal length."""
    return (tokens / rows) ** 2 / 2 * rows
