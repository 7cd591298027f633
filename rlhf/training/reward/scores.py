"""Scores of texts by a reward model in training: each text is read once."""

from collections.abc import Sequence

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor

from rlhf.models.scorer import Scorer, head_scores
from rlhf.runtime.progress import progress

Row = tuple[int, ...]


class Scores:
    """Raw logits of rows of token ids; a row is read once until `forget`.

    Rows are read in float32, also where training computes in bf16. Weights that are rounded to bf16
    lose what training changed by less than a 512th, and give other scores: see
    docs/research/lab-notes.md.
    """

    def __init__(self, scorer: Scorer, pad_token_id: int) -> None:
        self.scorer, self.pad_token_id = scorer, pad_token_id
        self._heads: dict[Row, list[float]] = {}

    def forget(self) -> None:
        """Forget all scores: the weights change."""
        self._heads = {}

    def read(self, rows: Sequence[Sequence[int]], *, title: str) -> Tensor:
        """Raw logits, float32 [N, heads], read on this process.

        Args:
            rows: N, token ids of prompt and response.
            title: of the texts, for the progress bar.
        """
        keys = [tuple(row) for row in rows]
        self._read(self._unknown(keys), title)
        return self._known(keys)

    def read_together(self, rows: Sequence[Sequence[int]], *, title: str) -> Tensor:
        """`read` with the rows dealt to all processes, on which the arguments are equal."""
        state = PartialState()
        keys = [tuple(row) for row in rows]
        unknown = sorted(self._unknown(keys))  # responses to one prompt are neighbours
        size = -(-len(unknown) // state.num_processes)
        share = unknown[state.process_index * size :][:size]
        self._read(share, title)
        for heads in gather_object([{key: self._heads[key] for key in share}]):
            self._heads |= heads
        return self._known(keys)

    def _unknown(self, keys: Sequence[Row]) -> list[Row]:
        return [key for key in dict.fromkeys(keys) if key not in self._heads]

    def _known(self, keys: Sequence[Row]) -> Tensor:
        return torch.tensor([self._heads[key] for key in keys], dtype=torch.float32)

    def _read(self, keys: Sequence[Row], title: str) -> None:
        with progress(f"score {title}", len(keys)) as advance:
            heads = head_scores(self.scorer, keys, self.pad_token_id, on_rows=advance)
        self._heads |= dict(zip(keys, heads.tolist(), strict=True))
