"""A note on rows that are longer than the positions a model was trained on."""

from pathlib import Path

from rlhf.data.tokenization.tokenizer import is_rotary
from rlhf.models.load import load_config


def beyond_training(path: str | Path, longest: int) -> tuple[str, ...]:
    """A sentence if rows of `longest` tokens exceed the positions trained on, else none.

    Only for rotary positions, which have no limit but are untrained beyond that length. Rows that
    exceed a table of positions are bad rows.
    """
    config = load_config(path).get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None or longest <= positions or not is_rotary(config):
        return ()
    return (
        f"Rows may have {longest} tokens; {path} was trained on at most {positions} positions, and "
        "positions beyond are untrained.",
    )
