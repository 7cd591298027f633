"""A reward that costs nothing: both engines of a group benchmark import it."""

from collections.abc import Sequence

TARGET = 120  # characters


def reward(prompts: Sequence[str], completions: Sequence[object], **_: object) -> list[float]:
    """Minus the distance of the length from TARGET, in hundreds of characters."""
    return [-abs(len(_text(completion)) - TARGET) / 100 for completion in completions]


def _text(completion: object) -> str:
    if isinstance(completion, list):  # TRL gives messages for a prompt of messages
        return str(completion[0]["content"])
    return str(completion)
