"""One response to score, with its prompt and the other columns of the prompt's row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rlhf.data.tokenization.thoughts import split_thought
from rlhf.types import Prompt


@dataclass(frozen=True, kw_only=True)
class Case:
    """A response to score."""

    prompt: Prompt
    response: str  # a thought first, as <think>…</think>
    columns: Mapping[str, object]

    @property
    def text(self) -> str:
        """The response without its thought."""
        return split_thought(self.response)[1]


def cases_of(
    prompts: Sequence[Prompt],
    responses: Sequence[str],
    columns: Sequence[Mapping[str, object]],
) -> list[Case]:
    """The cases of B prompts, B responses and B rows of columns."""
    return [
        Case(prompt=prompt, response=response, columns=row)
        for prompt, response, row in zip(prompts, responses, columns, strict=True)
    ]


class NoScore(Exception):
    """A call that gave no score.

    Args:
        reason: what a message says about it.
        again: whether another attempt could succeed.
        wait: seconds until then, where a server names them.
        lost: whether the source cannot be reached at all.
    """

    def __init__(
        self, reason: str, *, again: bool = False, wait: float | None = None, lost: bool = False
    ) -> None:
        super().__init__(reason)
        self.again, self.wait, self.lost = again, wait, lost
