"""A key-value cache that is allocated once and written in place."""

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


class SlabLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """One layer's keys and values, [B, heads, capacity, head_dim], filled from the left.

    transformers' DynamicCache concatenates, so that every step copies all earlier tokens. Rows can
    be repeated or dropped with `select`. A layer with sliding-window attention keeps all its keys
    too; its mask leaves out those outside the window.
    """

    is_sliding = False

    def __init__(self, capacity: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.keys: Tensor
        self.values: Tensor
        self.capacity = capacity
        self.length = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate for these heads and sizes, in the type that attention computes in."""
        self.dtype, self.device = _attention_dtype(key_states), key_states.device
        self.keys = self._slab(key_states)
        self.values = self._slab(value_states)
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Append keys and values; return all of them as views."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.length + key_states.shape[2]
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """`update` with one token per row, [B, heads, head_dim], in the type of the slab."""
        self.keys[:, :, self.length] = keys
        self.values[:, :, self.length] = values
        self.length += 1
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order; a row may be repeated."""
        self.keys, self.values = self._selected(self.keys, rows), self._selected(self.values, rows)

    def start(self, like: "SlabLayer", rows: int, length: int) -> None:
        """Allocate `rows` rows of `length` tokens, to be `put`, in the shape of another layer."""
        self.dtype, self.device = like.dtype, like.device
        # Zeros: a masked value has weight 0, and 0 times a NaN in uninitialised memory is NaN.
        shape = (rows, like.keys.shape[1], self.capacity)
        self.keys = like.keys.new_zeros((*shape, like.keys.shape[3]))
        self.values = like.values.new_zeros((*shape, like.values.shape[3]))
        self.length, self.is_initialized = length, True

    def put(self, rows: Tensor, source: "SlabLayer", source_rows: Tensor, width: int) -> None:
        """Copy the last `width` tokens of another layer's rows to the end of these rows."""
        target = slice(self.length - width, self.length)
        origin = slice(source.length - width, source.length)
        self.keys[rows, :, target] = source.keys[source_rows, :, origin]
        self.values[rows, :, target] = source.values[source_rows, :, origin]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys that the next query attends to."""
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        """The number of tokens held."""
        return self.length

    def get_max_length(self) -> int:
        """The number of tokens that fit."""
        return self.capacity

    def _slab(self, states: Tensor) -> Tensor:
        rows, heads, _, size = states.shape
        return self._allocate(states, (rows, heads, self.capacity, size))

    def _selected(self, slab: Tensor, rows: Tensor) -> Tensor:
        # Only the filled part has to be copied.
        selected = self._allocate(slab, (len(rows), *slab.shape[1:]))
        selected[:, :, : self.length] = slab[rows, :, : self.length]
        return selected

    def _allocate(self, like: Tensor, shape: tuple[int, ...]) -> Tensor:
        return like.new_empty(shape, dtype=self.dtype)


class FixedSlabLayer(SlabLayer):  # type: ignore[no-untyped-call]
    """A `SlabLayer` whose decoding steps use the same memory in the same shapes.

    A CUDA graph is replayed on the addresses that it was recorded with. Once `fixed` is set, the
    place to write to is a tensor, long [1], and attention gets the whole slab: its mask has to
    leave out unfilled columns.
    """

    def __init__(self, capacity: int, place: Tensor) -> None:
        super().__init__(capacity)
        self.place, self.fixed = place, False

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write keys and values at `place`; return the whole slab."""
        if not self.fixed:
            return super().update(key_states, value_states, *args, **kwargs)
        self.keys.index_copy_(2, self.place, key_states.to(self.dtype))
        self.values.index_copy_(2, self.place, value_states.to(self.dtype))
        return self.keys, self.values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """As in `SlabLayer`; the whole slab once it is fixed."""
        return (self.capacity, 0) if self.fixed else super().get_mask_sizes(query_length)

    def _allocate(self, like: Tensor, shape: tuple[int, ...]) -> Tensor:
        # Zeros: a NaN in this memory would pass through attention in spite of its weight of 0.
        return like.new_zeros(shape, dtype=self.dtype)


class SlabCache(Cache):
    """A `SlabLayer` for each layer of a decoder; with a `place`, layers that `fix` can fix."""

    def __init__(self, num_layers: int, capacity: int, place: Tensor | None = None) -> None:
        self.place = place
        self.slabs = [
            SlabLayer(capacity) if place is None else FixedSlabLayer(capacity, place)
            for _ in range(num_layers)
        ]
        super().__init__(layers=list(self.slabs))

    def fix(self, length: int) -> None:
        """From now on write at `place`; `select` copies the `length` tokens held."""
        for layer in self.slabs:
            assert isinstance(layer, FixedSlabLayer)
            layer.fixed, layer.length = True, length

    @property
    def capacity(self) -> int:
        """The number of tokens that fit into a row."""
        return self.slabs[0].capacity

    def start(self, like: "SlabCache", rows: int, length: int) -> None:
        """Allocate `rows` rows that end at column `length`, in the shape of another cache."""
        for layer, other in zip(self.slabs, like.slabs, strict=True):
            layer.start(other, rows, length)

    def put(self, rows: Tensor, source: "SlabCache", source_rows: Tensor, width: int) -> None:
        """Copy the last `width` tokens of another cache's rows to the end of these rows."""
        for layer, other in zip(self.slabs, source.slabs, strict=True):
            layer.put(rows, other, source_rows, width)

    def select(self, rows: Tensor) -> None:
        """Keep these rows in every layer, in this order; a row may be repeated."""
        for layer in self.slabs:
            layer.select(rows)


def _attention_dtype(states: Tensor) -> torch.dtype:
    # Under autocast rotary embeddings return float32 keys and attention casts them to bfloat16.
    # With a float32 slab it would cast all earlier tokens again at every step.
    if torch.is_autocast_enabled(states.device.type):
        return torch.get_autocast_dtype(states.device.type)
    return states.dtype
