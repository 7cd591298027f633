"""The label form: the fields that the page sends, and their translation into a label."""

from collections.abc import Sequence
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from rlhf.errors import DataError
from rlhf.labels.answers import stored_answers
from rlhf.labels.form_config import FormConfig
from rlhf.labels.records import Judgment, competition_ranks

MAX_TEXT = 100_000
MAX_RESPONSES = 64
MAX_ANSWERS = 100  # parts of one answer, and criteria of a form
Tier = Annotated[int, Field(ge=1, le=MAX_RESPONSES)] | None
Overall = Annotated[int, Field(ge=1, le=7)] | None
Text = Annotated[str, Field(max_length=MAX_TEXT)]
Name = Annotated[str, Field(max_length=200)]
Offset = Annotated[int, Field(ge=0, le=10_000_000)]
Value = TypeVar("Value")


class SpanAnswer(BaseModel):
    """A marked passage; offsets in characters of the response as the page shows it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    start: Offset
    end: Offset
    text: Text
    option: Name


OneAnswer = (
    Annotated[int, Field(ge=0, le=9)]
    | Text
    | Annotated[list[Name], Field(max_length=MAX_ANSWERS)]
    | Annotated[list[SpanAnswer], Field(max_length=MAX_ANSWERS)]
    | Annotated[dict[Name, bool], Field(max_length=MAX_ANSWERS)]
    | None
)
# One answer, or one for each response.
Answer = OneAnswer | Annotated[list[OneAnswer], Field(max_length=MAX_RESPONSES)]
Answers = Annotated[dict[Name, Answer], Field(max_length=MAX_ANSWERS)]


class LabelForm(BaseModel):
    """The page's fields, with responses in the order shown."""

    model_config = ConfigDict(extra="forbid", strict=True)

    tiers: Annotated[list[Tier], Field(max_length=MAX_RESPONSES)] = []
    scale: Annotated[int, Field(ge=-4, le=4)] | None = None  # below 0: the first is better
    both_bad: bool = False  # with three or more responses: all bad
    flags: Annotated[list[list[Text]], Field(max_length=MAX_RESPONSES)] = []
    overall: Annotated[list[Overall], Field(max_length=MAX_RESPONSES)] = []
    comment: Text = ""
    rewrite: Text = ""
    skip_comment: Text = ""  # of a skip that was undone, for the next one
    answers: Answers = {}


def judgment_of(
    form: LabelForm,
    order_shown: Sequence[int],
    config: FormConfig,
    *,
    seconds: float | None,
    guideline_version: int,
    form_version: int,
    responses: Sequence[str] = (),
) -> Judgment:
    """The form as a judgment of the stored item's responses.

    Args:
        form: the submitted fields, in the order shown.
        order_shown: K indices into the stored responses, first shown first.
        config: the fields of the form.
        seconds: time from seeing the item to submitting; None if not measured.
        guideline_version: version of the guideline that the page showed.
        form_version: version of `config` in the store.
        responses: K stored texts, needed if the form marks passages.

    Raises:
        DataError: a response without a rank, an unknown flag, an answer that does not fit its
            criterion, or a required one that is missing.
    """
    tiers = _tiers_shown(form, len(order_shown))
    ranks = _in_stored_order(competition_ranks(tiers), order_shown, 0)
    unknown = {flag for of_response in form.flags for flag in of_response} - set(config.flags)
    if unknown:
        raise DataError(f"flag {min(unknown)!r} is not in this form.", code="bad-label")
    extra: dict[str, object] = {"form": form.model_dump(exclude_defaults=True)}
    if any(form.flags):
        extra["flags"] = _in_stored_order(form.flags, order_shown, [])
    if any(value is not None for value in form.overall):
        extra["overall"] = _in_stored_order(form.overall, order_shown, None)
    if form.scale is not None and len(order_shown) == 2:
        # The sign follows the stored order, as ranks do: below 0 the first response is better.
        extra["scale"] = form.scale if order_shown[0] == 0 else -form.scale
    extra |= {
        name: text for name in ("comment", "rewrite") if (text := getattr(form, name).strip())
    }
    if form.both_bad:
        extra["both_bad" if len(order_shown) == 2 else "all_bad"] = True
    answers = form.model_dump()["answers"]
    if criteria := stored_answers(answers, config.criteria, order_shown, ranks, responses):
        extra["criteria"] = criteria
    return Judgment(
        ranks=ranks,
        seconds=seconds,
        strength=float(max(1, abs(form.scale or 0))),
        guideline_version=guideline_version,
        form_version=form_version,
        extra=extra,
    )


def _tiers_shown(form: LabelForm, count: int) -> list[int]:
    if count == 2 and (form.scale is not None or form.both_bad):
        scale = form.scale or 0
        return [1, 1] if scale == 0 else [1, 2] if scale < 0 else [2, 1]
    if form.both_bad and not any(form.tiers):
        return [1] * count
    tiers = [tier for tier in form.tiers if tier is not None]
    if len(tiers) != count or len(form.tiers) != count or max(tiers) > count:
        raise DataError(
            f"give each of the {count} responses a rank from 1 to {count}.", code="bad-label"
        )
    return tiers


def _in_stored_order(
    values: Sequence[Value], order_shown: Sequence[int], empty: Value
) -> list[Value]:
    """Values in the order shown -> in the order of the stored responses."""
    stored = [empty] * len(order_shown)
    for value, index in zip(values, order_shown, strict=False):
        stored[index] = value
    return stored
