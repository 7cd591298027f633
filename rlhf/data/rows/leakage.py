"""Prompts that stand in two sets: a result on held-out prompts is only as good as their absence."""

from collections.abc import Sequence
from dataclasses import dataclass

from rlhf.data.rows.split import prompt_key
from rlhf.types import Prompt


@dataclass(frozen=True, kw_only=True)
class Leakage:
    """How many evaluation prompts were trained on."""

    checked: int
    leaked: Sequence[int]  # indices of evaluation prompts whose words stand among the training's


def leaked_prompts(evaluation: Sequence[Prompt], training: Sequence[Prompt]) -> Leakage:
    """Evaluation prompts that equal a training prompt but for case, spacing and punctuation."""
    seen = {prompt_key(prompt) for prompt in training}
    leaked = [i for i, prompt in enumerate(evaluation) if prompt_key(prompt) in seen]
    return Leakage(checked=len(evaluation), leaked=leaked)
