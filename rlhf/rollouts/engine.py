"""The interface between a trainer and the program that samples its responses."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from peft import PeftModel
from transformers import PreTrainedModel

from rlhf.models.generation.decoder import Generated
from rlhf.types import PromptBatch


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How responses are sampled: plainly from softmax(logits / temperature)."""

    max_new_tokens: int
    temperature: float  # 0 takes the likeliest tokens
    eos_token_ids: Sequence[int]  # ids that end a response, and are part of it
    pad_token_id: int  # fills responses on the right
    seed: int  # with iteration and row, it determines the random numbers
    iteration: int
    row_limits: Sequence[int] | None = None  # longest response of each row, where they differ

    def limit_of(self, row: int) -> int:
        """Longest response of this row of the batch."""
        return self.max_new_tokens if self.row_limits is None else self.row_limits[row]

    def seed_of(self, row_id: int) -> int:
        """A seed for an engine that takes one: below 2**56, of seed, iteration and row."""
        text = f"{self.seed} {self.iteration} {row_id}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7])


class RolloutEngine(Protocol):
    """Samples responses with the weights that it was given last.

    Methods are called on all processes of a run, each with its own rows.
    """

    @property
    def name(self) -> str:
        """The value of `rollout_engine`."""

    @property
    def is_native(self) -> bool:
        """Whether it is rlhf's own decoder, whose log-probs a trainer may take for its own."""

    def update_weights(self, policy: PreTrainedModel | PeftModel) -> None:
        """Sample with these weights from now on.

        Args:
            policy: with whole weights, which an in-process engine reads at every `generate`.
        """

    def generate(self, batch: PromptBatch, sampling: Sampling) -> Generated:
        """A response to every row.

        The log-probs are those at the sampling temperature, as the engine computed them. Rows of
        one `group_id` are responses to the same prompt.

        Raises:
            TrainingError: the engine was lost, or gave something else than was asked for.
        """

    def close(self) -> None:
        """End what the engine started. It may be called twice."""
