"""A note on rows that are longer than the positions a model was trained on."""

from pathlib import Path

from rlhf.data.tokenization.tokenizer import is_rotary
from rlhf.models.load import load_config


def beyond_training(
    path: str | Path, longest: int, limits: tuple[int, int] | None = None
) -> tuple[str, ...]:
    """A sentence if rows of `longest` tokens exceed the positions trained on, else none.

    Only for rotary positions, which have no limit but are untrained beyond that length. Rows that
    exceed a table of positions are bad rows.

    Args:
        path: the model.
        longest: the most tokens of a prompt with its response.
        limits: the most tokens of the prompt and of the response, if each has its own limit.
    """
    config = load_config(path).get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None or longest <= positions or not is_rotary(config):
        return ()
    parts = ""
    if limits is not None:
        parts = f" (max_prompt_length {limits[0]} + max_completion_length {limits[1]})"
    return (
        f"A prompt with its response may have up to {longest} tokens{parts}, but {path} was "
        f"trained on at most {positions} positions; later positions are untrained.",
    )
