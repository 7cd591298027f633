"""Rows longer than the text a model was trained on: refused where it has no place for them."""

from pathlib import Path

from rlhf.errors import ConfigError
from rlhf.models.load import load_config


def check_positions(path: str | Path, longest: int) -> tuple[str, ...]:
    """A sentence where rows of `longest` tokens go beyond the model's positions, else none.

    Rotary positions are computed and go on without end, untrained; learned ones are a table.

    Raises:
        ConfigError: the positions are a table and `longest` is beyond its last row.
    """
    config = load_config(path).get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None or longest <= positions:
        return ()
    if getattr(config, "rope_parameters", None) is None:
        raise ConfigError(
            f"rows of up to {longest} tokens, but {path} has {positions} positions; lower "
            "max_length (or max_prompt_length and max_completion_length)."
        )
    return (
        f"Rows may have {longest} tokens; {path} was trained on {positions} positions at most and "
        "reads what lies beyond untrained.",
    )
