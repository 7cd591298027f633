"""A row with a verdict or ratings becomes a `RatedResponse`, or a `DataError` with the reason."""

from collections.abc import Mapping, Sequence

from rlhf.data.files.raw import Row
from rlhf.data.rows.fields import (
    after_prompt,
    annotator_of,
    check_columns,
    check_context,
    prompt_of,
    text_of,
    value_of,
)
from rlhf.data.rows.messages import messages_of, tools_of, type_name
from rlhf.data.source_formats.parts import is_number, thumb
from rlhf.data.source_formats.preferences import helpsteer_turns
from rlhf.data.tokenization.thoughts import with_thought
from rlhf.errors import reject_row
from rlhf.types import Prompt, RatedResponse

CORRECT = "correct"  # the axis of a verdict
OUTCOME = "prompt, response and correct"
RATED = "prompt, response and ratings"


def parse_outcome(row: Row) -> RatedResponse:
    """The response of `{"prompt", "response", "correct"}`, and whether it is correct.

    `completion` is another name of the column `response`.

    Raises:
        DataError: the reason why it is no such row.
    """
    label = value_of(row, CORRECT, OUTCOME)
    return _rated(row, OUTCOME, {CORRECT: float(thumb(label, CORRECT))})


def parse_ratings(row: Row, axes: Sequence[str] | None = None) -> RatedResponse:
    """The response of `{"prompt", "response", "ratings"}` and its ratings by axis.

    A rating that is null or has no key in `ratings` is missing. Without the column `ratings` an
    axis is a column of its own, as in HelpSteer.

    Args:
        row: the row as it was read.
        axes: to read; None reads all of `ratings`.

    Raises:
        DataError: the reason, such as a rating that is not a number, or none of the axes.
    """
    named = row.get("ratings")
    if "ratings" in row and not isinstance(named, dict):
        reject_row(f"ratings is {type_name(named)}, not a mapping of axes to numbers")
    if not isinstance(named, dict):
        named = {axis: row.get(axis) for axis in axes or ()}
        if not axes:
            value_of(row, "ratings", RATED)
    ratings = _numbers({axis: named.get(axis) for axis in axes or named})
    if not ratings:
        wanted = ", ".join(axes) if axes else "any axis"
        reject_row(f"no rating of {wanted}; the row has ratings of {', '.join(named) or 'nothing'}")
    return _rated(row, RATED, ratings)


def _numbers(values: Mapping[str, object]) -> dict[str, float]:
    """The ratings that are not missing."""
    ratings = {}
    for axis, value in values.items():
        if value is None:
            continue
        if not is_number(value):
            reject_row(f"the rating of {axis} is not a finite number: {str(value)[:40]!r}")
        ratings[axis] = float(value)
    return ratings


def _rated(row: Row, needed: str, ratings: Mapping[str, float]) -> RatedResponse:
    check_columns(row, ("completion",))
    check_context(row)
    if "response" in row and "completion" in row:
        reject_row("completion next to response: a row has one or the other")
    if isinstance(text := row.get("prompt"), str):
        row = {**row, "prompt": helpsteer_turns(text)}
    prompt = prompt_of(row, needed)
    name = "completion" if "completion" in row else "response"
    return RatedResponse(
        prompt=prompt,
        completion=_response(value_of(row, name, needed), prompt, name),
        ratings=ratings,
        annotator=annotator_of(row),
        tools=tools_of(row),
    )


def _response(value: object, prompt: Prompt, name: str) -> str:
    """The response's text, or that of one assistant's message."""
    if not isinstance(value, list) or not value:
        return text_of(value, name)
    *between, last = after_prompt(messages_of(value, name, last=("assistant",)), prompt, name)
    if between or last.get("tool_calls"):
        reject_row(f"{name} is more than one message without tool calls")
    return with_thought(last.get("reasoning_content", ""), last["content"])
