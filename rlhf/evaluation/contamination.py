"""Held-out prompts that the models were trained on after all."""

from collections.abc import Iterator, Sequence

from rlhf.data.leakage import leaked_prompts
from rlhf.data.read import Unreadable, read_rows
from rlhf.types import Prompt, PromptRow


def contaminated_rows(rows: Sequence[PromptRow], training: Sequence[str]) -> list[bool]:
    """For each row whether its prompt stands in one of the training files.

    Equal but for case, spacing and punctuation counts. Rows of any type are read for their
    prompt; rows without one (plain text) are passed over, as are unreadable ones: training has
    reported them.
    """
    seen = [prompt for source in training for prompt in _prompts(source)]
    leaked = set(leaked_prompts([row.prompt for row in rows], seen).leaked)
    return [index in leaked for index in range(len(rows))]


def _prompts(source: str) -> Iterator[Prompt]:
    for _, row in read_rows(source):
        if isinstance(row, Unreadable):
            continue
        prompt = row.get("prompt")
        if prompt is None and isinstance(row.get("messages"), list):
            prompt = row["messages"][:-1]
        if isinstance(prompt, str | list):
            yield prompt
