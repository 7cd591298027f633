"""The tree of a conversation on the page: prompts, and the responses to them.

A turn names the turn before it. To edit a prompt, or to generate another response, adds a turn with
the same parent: a branch. Nothing is replaced. A response turn has everything that its responses
were generated with, so that a vote, an export and an inspection read the prompt of that moment,
whatever the settings are by then.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Annotated, Literal

from pydantic import Field

from rlhf.chat.web.schema import StrictBody
from rlhf.types import Message

MAX_TEXT_LENGTH = 200_000  # characters
MAX_TURNS = 1024  # of one request
STOPPED = "stopped"  # how a response ended that the user, or a lost connection, cut off

Name = Annotated[str, Field(max_length=4096)]
Text = Annotated[str, Field(max_length=MAX_TEXT_LENGTH)]
PageId = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{8,64}$")]
"""Id of a conversation or a turn. The page makes it, so that saving again adds nothing."""
Index = Annotated[int, Field(ge=0, lt=8)]  # of one of several responses


class TurnSettings(StrictBody):
    """How the responses of a turn were sampled."""

    temperature: float
    top_p: float
    max_tokens: int | None = None
    seed: int


class TurnResponse(StrictBody):
    """The response of one model."""

    model: Name  # its name on the server, or a blind name until the vote
    label: Name  # what the page shows
    thought: Text = ""
    text: Text = ""
    finish: Literal["", "stop", "length"] = ""  # "": not finished, or stopped
    steered: bool = False  # whether the user chose one of its tokens
    thumb: Literal["", "up", "down"] = ""
    reward: float | None = None

    @property
    def ending(self) -> str:
        """`stop` (the model ended it), `length` (it reached the maximum) or `stopped`."""
        return self.finish or STOPPED


class Turn(StrictBody):
    """A prompt of the user (`content`), or the responses to it, one a model."""

    id: PageId
    parent: PageId | None
    role: Literal["user", "assistant"]
    # of a prompt
    content: Text = ""
    continues: Index = 0  # which of the parent's responses it continues
    # of responses
    system: Text = ""  # system message of their prompt
    dropped: Annotated[int, Field(ge=0)] = 0  # oldest messages that did not fit into their prompt
    settings: TurnSettings | None = None
    responses: Annotated[list[TurnResponse], Field(max_length=8, default_factory=list)]
    chosen: Index = 0  # the response that the next prompt continues
    vote: Annotated[str, Field(max_length=8)] = ""


Turns = Annotated[list[Turn], Field(max_length=MAX_TURNS)]


def branch_rows(branch: Sequence[Turn]) -> list[dict[str, object]]:
    """`messages` rows, as SFT reads them, of a branch from its first prompt on.

    There is one row, unless the system message changed or the oldest turns no longer fitted. Each
    response is trained on once, in the row with the prompt that it was generated from; where it is
    only context for later ones it has weight 0. A prompt without a response is left out.

    Rows with a response that the model did not end (`length`, `stopped`), or that continues a token
    chosen by the user, say so: `endings` and `steered` have one value for each trained response.
    """
    answered = [n for n, turn in enumerate(branch) if turn.responses and _reply(branch, n).text]
    rows = []
    for (system, dropped), group in groupby(
        answered, key=lambda n: (branch[n].system, branch[n].dropped)
    ):
        numbers = list(group)
        rows.append(_row(branch[: numbers[-1] + 1], numbers, system, dropped))
    return rows


def _row(
    branch: Sequence[Turn], trained: Sequence[int], system: str, dropped: int
) -> dict[str, object]:
    messages: list[Message] = [{"role": "system", "content": system}] if system else []
    messages += [_message(branch, n, n in trained) for n in range(dropped, len(branch))]
    replies = [_reply(branch, n) for n in trained]
    endings, steered = [one.ending for one in replies], [one.steered for one in replies]
    row: dict[str, object] = {"messages": messages}
    if any(steered) or set(endings) != {"stop"}:
        row |= {"endings": endings, "steered": steered}
    return row


def _message(branch: Sequence[Turn], n: int, trained: bool) -> Message:
    """Turn `n` as a message, its thought in a field of its own."""
    if branch[n].role == "user":
        return {"role": "user", "content": branch[n].content}
    reply = _reply(branch, n)
    message: Message = {"role": "assistant", "content": reply.text}
    if reply.thought:
        message["reasoning_content"] = reply.thought
    return message if trained else {**message, "weight": 0}


def _reply(branch: Sequence[Turn], n: int) -> TurnResponse:
    """The response of turn `n` that the branch continues with."""
    index = branch[n + 1].continues if n + 1 < len(branch) else branch[n].chosen
    return branch[n].responses[min(index, len(branch[n].responses) - 1)]
