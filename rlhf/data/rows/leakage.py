"""Prompts that are in two sets: a held-out result counts only for prompts not trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

from rlhf.data.rows.split import prompt_key
from rlhf.types import Prompt


@dataclass(frozen=True, kw_only=True)
class Leakage:
    """How many evaluation prompts were trained on."""

    checked: int
    leaked: Sequence[int]  # indices of the evaluation prompts that are training prompts


def leaked_prompts(evaluation: Sequence[Prompt], training: Sequence[Prompt]) -> Leakage:
    """Evaluation prompts that equal a training prompt up to case, spacing and punctuation."""
    keys = {prompt_key(prompt) for prompt in training}
    leaked = [i for i, prompt in enumerate(evaluation) if prompt_key(prompt) in keys]
    return Leakage(checked=len(evaluation), leaked=leaked)
