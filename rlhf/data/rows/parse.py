"""One row as read -> one typed row, or a `DataError` with the reason; its place is added later."""

from collections.abc import Sequence
from typing import Literal

from rlhf.data.files.read import Row
from rlhf.data.rows.fields import (
    RESPONSES,
    after_prompt,
    check_columns,
    check_context,
    prompt_of,
    text_of,
    value_of,
    with_system,
)
from rlhf.data.rows.messages import messages_of, refuse, tools_of
from rlhf.data.rows.parse_ranking import ScoreColumns, parse_ranking
from rlhf.types import Demonstration, Message, Prompt, PromptRow, Ranking

TrainOn = Literal["all", "last"]


def parse_row(
    row: Row, scores: ScoreColumns = "reject"
) -> Demonstration | Ranking | PromptRow | str:
    """A row of any of our types, known by its keys.

    Raises:
        DataError: the reason.
    """
    if row.keys() & {"chosen", "rejected", "responses"}:
        return parse_ranking(row, scores)
    if row.keys() & {"completion", "messages"}:
        return parse_demonstration(row)
    return parse_prompt(row) if "prompt" in row else parse_text(row)


def parse_demonstration(row: Row, train_on: TrainOn = "all") -> Demonstration:
    """`{"prompt", "completion"}`, or `{"messages"}` of which the last turn is the response.

    Of `messages` every assistant turn is imitated, or with train_on="last" the last one alone; of
    a completion of several messages every one, and none of the prompt's.

    Raises:
        DataError: the reason; a thumb (`label`) is refused, so that a thumb down never
            becomes something to imitate.
    """
    check_columns(row, ("messages",) if "messages" in row else ("completion",))
    check_context(row)
    if "label" in row and "completion" in row:
        refuse("a thumb (label) is no demonstration; convert its good answers first")
    if "messages" in row:
        turns = with_system(row, messages_of(row["messages"], "messages", last=("assistant",)))
        _check_repeated_prompt(row, turns)
        if len(turns) < 2:
            refuse("messages holds the assistant's turn alone: there is nothing that it answers")
        return _demonstration(row, turns[:-1], turns[-1], every_turn=train_on == "all")
    prompt = prompt_of(row, "prompt and completion, or messages")
    completion = value_of(row, "completion", "prompt and completion")
    if not isinstance(completion, list) or not completion:
        text = text_of(completion, "completion")
        return _demonstration(row, prompt, {"role": "assistant", "content": text})
    *between, last = after_prompt(
        messages_of(completion, "completion", last=("assistant",)), prompt, "completion"
    )
    if not between:
        return _demonstration(row, prompt, last)
    asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    context = [{**turn, "weight": 0} if turn["role"] == "assistant" else turn for turn in asked]
    return _demonstration(row, [*context, *between], last, every_turn=train_on == "all")


def _demonstration(
    row: Row, prompt: Prompt, turn: Message, *, every_turn: bool = False
) -> Demonstration:
    spoken = [turn, *(one for one in prompt if every_turn and isinstance(one, dict))]
    if not any(one.get("weight", 1) for one in spoken if one["role"] == "assistant"):
        refuse("weight 0 on every assistant turn: there is nothing to train on")
    fields = {key: value for key, value in turn.items() if key not in ("role", "content")}
    return Demonstration(
        prompt=prompt,
        completion=turn["content"],
        fields=fields,
        tools=tools_of(row),
        every_turn=every_turn,
    )


def parse_prompt(row: Row) -> PromptRow:
    """`{"prompt"}`, the other columns kept."""
    check_columns(row, RESPONSES)
    prompt = prompt_of(row, "prompt")
    columns = {k: v for k, v in row.items() if k != "prompt"}
    tools = tools_of(row)
    return PromptRow(prompt=prompt, columns={**columns, "tools": tools} if tools else columns)


def parse_text(row: Row) -> str:
    """`{"text"}`."""
    check_columns(row, ())
    return text_of(value_of(row, "text", "text"), "text")


def _check_repeated_prompt(row: Row, turns: Sequence[Message]) -> None:
    """A prompt next to messages has to be part of them, as in UltraChat."""
    prompt = row.get("prompt")
    if isinstance(prompt, str) and prompt.strip():
        if not any(prompt.strip() in turn["content"] for turn in turns):
            refuse("prompt next to messages that do not hold it: a row is one or the other")
    elif isinstance(prompt, list) and messages_of(prompt, "prompt") != list(turns[: len(prompt)]):
        refuse("prompt next to messages that do not begin with it: a row is one or the other")
