"""A decoding step as a CUDA graph: one launch instead of hundreds of small kernels.

Not yet run on a GPU. On a CPU the same step runs without a graph, which the tests compare.
"""

import torch
from torch import Tensor

from rlhf.models.generation.kv_cache import SlabCache
from rlhf.models.protocols import CausalLM

WARM_UP = 3  # steps before recording, in which libraries allocate memory


class GraphedStep:
    """Logits after one more token of each row. The first call records, later calls replay.

    Args:
        model: the language model.
        cache: the cache of these rows, made with a `place`; it holds `length` tokens per row.
        mask: bool [B, capacity], False on the prompts' padding, True on all later tokens.
        length: columns of the cache that are filled.
    """

    def __init__(self, model: CausalLM, cache: SlabCache, mask: Tensor, *, length: int) -> None:
        self.model, self.cache = model, cache
        rows, capacity = mask.shape
        filled = torch.arange(capacity, device=mask.device) < length
        self.visible = (mask & filled).view(rows, 1, 1, capacity)
        self.tokens = torch.zeros(rows, 1, dtype=torch.long, device=mask.device)
        self.positions = torch.zeros_like(self.tokens)
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, tokens: Tensor, positions: Tensor, place: int) -> Tensor:
        """Logits [B, V]; the next call overwrites them.

        tokens, positions: long [B]; place: column of the cache to write the tokens to.
        """
        assert self.cache.place is not None
        self.tokens.copy_(tokens[:, None])
        self.positions.copy_(positions[:, None])
        self.cache.place.fill_(place)
        self.cache.fix(place + 1)
        self.visible[..., place] = True
        if tokens.device.type != "cuda":
            return self._forward()
        if self.graph is None:
            self._record()
        assert self.graph is not None
        self.graph.replay()
        return self.logits

    def _record(self) -> None:
        # Recording needs a separate stream. The warm-up writes the same cells as the replay.
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self._forward()
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.logits = self._forward()

    def _forward(self) -> Tensor:
        logits: Tensor = self.model(
            input_ids=self.tokens,
            attention_mask=self.visible,
            position_ids=self.positions,
            past_key_values=self.cache,
            use_cache=True,
        ).logits
        return logits[:, -1]
