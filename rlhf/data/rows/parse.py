"""A row as read becomes a typed row, or a `DataError` with the reason; its place is added later."""

from collections.abc import Sequence
from typing import Literal, cast

from rlhf.data.files.raw import Row
from rlhf.data.rows.endings import with_endings
from rlhf.data.rows.fields import (
    RESPONSES,
    after_prompt,
    check_columns,
    check_context,
    prompt_of,
    prompt_turns,
    text_of,
    value_of,
    with_system,
)
from rlhf.data.rows.messages import messages_of, tools_of
from rlhf.data.rows.parse_ranking import ScoreColumns, parse_ranking
from rlhf.data.source_formats.formats import formats_with_columns_of
from rlhf.data.source_formats.parts import thumb
from rlhf.data.tokenization.thoughts import with_thought
from rlhf.errors import reject_row
from rlhf.types import Demonstration, Message, MessageFields, Prompt, PromptRow, Ranking, Thumb

TrainOn = Literal["all", "last"]
# Formats whose rows are texts: any text, and texts with a sentiment.
_TEXT_FORMATS = {"opening", "sentiment"}


def parse_row(
    row: Row, scores: ScoreColumns = "reject"
) -> Demonstration | Ranking | PromptRow | str:
    """The typed row of any kind, which is chosen by the row's keys.

    Raises:
        DataError: the reason.
    """
    if row.keys() & {"chosen", "rejected", "responses"}:
        return parse_ranking(row, scores)
    if row.keys() & {"completion", "messages"}:
        return parse_demonstration(row)
    return parse_prompt(row) if "prompt" in row else parse_text(row)


def parse_demonstration(row: Row, train_on: TrainOn = "all") -> Demonstration:
    """The demonstration of `{"prompt", "completion"}`, or of `{"messages"}`, the last a response.

    Every assistant turn of `messages` is trained on, or the last one alone with train_on="last".
    One that was cut off, by the row's `endings`, is trained on without its end.
    A completion of several messages is trained on as a whole, and nothing of its prompt.

    Raises:
        DataError: the reason. Rows with a thumb (`label`) are rejected, so that a thumb down is
            never imitated.
    """
    check_columns(row, ("messages",) if "messages" in row else ("completion",))
    check_context(row)
    if "label" in row and "completion" in row:
        reject_row("a thumb (label) is not a demonstration; convert the thumbs up first")
    if "messages" in row:
        turns = with_system(row, messages_of(row["messages"], "messages", last=("assistant",)))
        _check_repeated_prompt(row, turns)
        if len(turns) < 2:
            reject_row("messages has only the assistant's turn, but no prompt before it")
        turns = with_endings(row, turns)
        return _demonstration(row, turns[:-1], turns[-1], every_turn=train_on == "all")
    prompt = prompt_of(row, "prompt and completion, or messages")
    completion = value_of(row, "completion", "prompt and completion")
    if not isinstance(completion, list) or not completion:
        text = text_of(completion, "completion")
        [turn] = with_endings(row, [{"role": "assistant", "content": text}])
        return _demonstration(row, prompt, turn)
    turns = messages_of(completion, "completion", last=("assistant",))
    *between, last = with_endings(row, after_prompt(turns, prompt, "completion"))
    if not between:
        return _demonstration(row, prompt, last)
    context: list[Message] = [
        {**turn, "weight": 0} if turn["role"] == "assistant" else turn
        for turn in prompt_turns(prompt)
    ]
    return _demonstration(row, [*context, *between], last, every_turn=train_on == "all")


def _demonstration(
    row: Row, prompt: Prompt, turn: Message, *, every_turn: bool = False
) -> Demonstration:
    trained = [turn, *(each for each in prompt if every_turn and isinstance(each, dict))]
    if not any(each.get("weight", 1) for each in trained if each["role"] == "assistant"):
        reject_row("weight 0 on every assistant turn: there is nothing to train on")
    others = {key: value for key, value in turn.items() if key not in ("role", "content")}
    return Demonstration(
        prompt=prompt,
        completion=turn["content"],
        fields=cast(MessageFields, others),
        tools=tools_of(row),
        every_turn=every_turn,
    )


def parse_thumb(row: Row) -> Thumb:
    """The response of `{"prompt", "completion", "label"}` and whether its label is a thumb up.

    Raises:
        DataError: the reason.
    """
    check_columns(row, ("completion",))
    check_context(row)
    demonstration = parse_demonstration({k: v for k, v in row.items() if k != "label"})
    label = value_of(row, "label", "prompt, completion and label")
    if demonstration.every_turn or demonstration.fields.get("tool_calls"):
        reject_row("a thumb is about one response without tool calls")
    text = with_thought(demonstration.fields.get("reasoning_content", ""), demonstration.completion)
    return Thumb(
        prompt=demonstration.prompt,
        completion=text,
        desirable=thumb(label, "label"),
        cut=demonstration.fields.get("cut", False),
        tools=demonstration.tools,
    )


def parse_prompt(row: Row) -> PromptRow:
    """The prompt of `{"prompt"}`, with the other columns."""
    check_columns(row, RESPONSES)
    prompt = prompt_of(row, "prompt")
    columns = {k: v for k, v in row.items() if k != "prompt"}
    tools = tools_of(row)
    return PromptRow(prompt=prompt, columns={**columns, "tools": tools} if tools else columns)


def parse_text(row: Row) -> str:
    """The text of `{"text"}`."""
    check_columns(row, ())
    return text_of(value_of(row, "text", "text"), "text")


def is_plain_text(row: Row) -> bool:
    """Whether SFT reads the row as a plain text instead of a demonstration."""
    return "text" in row and not row.keys() & {"prompt", *RESPONSES}


def parse_plain_text(row: Row) -> str:
    """The text of a `{"text"}` row of SFT.

    A text next to columns from which it was made (Alpaca's rows have both) is rejected: as a plain
    text, its instruction would be trained on too.

    Raises:
        DataError: the reason.
    """
    check_columns(row, ("text",))
    if "prompt" in row:
        reject_row("prompt next to text: the rows of a source are demonstrations or texts")
    text = parse_text(row)
    if others := set(formats_with_columns_of([row])) - _TEXT_FORMATS:
        columns = ", ".join(key for key in row if key != "text")
        reject_row(
            f"text next to {columns}, which are `{min(others)}` rows: convert them, or remove "
            "these columns to train on the plain text"
        )
    return text


def _check_repeated_prompt(row: Row, turns: Sequence[Message]) -> None:
    """Reject a prompt next to messages that is not part of them, as it is in UltraChat."""
    prompt = row.get("prompt")
    if isinstance(prompt, str) and prompt.strip():
        if not any(prompt.strip() in turn["content"] for turn in turns):
            reject_row("prompt next to messages that do not contain it: a row has one or the other")
    elif isinstance(prompt, list) and messages_of(prompt, "prompt") != list(turns[: len(prompt)]):
        reject_row("prompt next to messages that do not begin with it: a row has one or the other")
