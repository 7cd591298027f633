"""What a verifier is: a check of one response, and the columns that it reads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlhf.rewards.function import RewardFunction

Columns = Mapping[str, object]
"""The other columns of a prompt's row."""

Check = Callable[[str, Columns], float | None]
"""The value of a response, without its thought; None where the row allows none."""


@dataclass(frozen=True, kw_only=True)
class Verifier:
    """A check of responses.

    prepare: raises `ConfigError` for a row whose columns the check cannot use.
    """

    check: Check
    columns: Sequence[str] = ()  # that every row has to have
    prepare: Callable[[Columns], object] | None = None


def as_function(verifier: Verifier) -> RewardFunction:
    """The verifier as a reward function, in TRL's signature."""

    def verify(
        prompts: Sequence[object], completions: Sequence[Any], **columns: Sequence[object]
    ) -> list[float | None]:
        texts = [one if isinstance(one, str) else str(one[-1]["content"]) for one in completions]
        return [
            verifier.check(text, {name: values[row] for name, values in columns.items()})
            for row, text in enumerate(texts)
        ]

    return verify
