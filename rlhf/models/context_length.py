"""Rows longer than the text that a model was trained on, where it computes them all the same."""

from pathlib import Path

from rlhf.data.tokenization.tokenizer import is_rotary
from rlhf.models.load import load_config


def beyond_training(path: str | Path, longest: int) -> tuple[str, ...]:
    """A sentence where rows of `longest` tokens go beyond the positions trained on, else none.

    Of rotary positions alone: they go on without end, untrained. Where positions are a table,
    rows that leave it are bad rows.
    """
    config = load_config(path).get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None or longest <= positions or not is_rotary(config):
        return ()
    return (
        f"Rows may have {longest} tokens; {path} was trained on {positions} positions at most and "
        "reads what lies beyond untrained.",
    )
