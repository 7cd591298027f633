"""Schemas of the page's request bodies."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from rlhf.labels.access import MAX_NAME_LENGTH
from rlhf.labels.people import MAX_CAP
from rlhf.labels.web.form import MAX_RESPONSES, Answers, LabelForm, Overall
from rlhf.labels.web.form import Name as FlagName

MAX_SECONDS = 86_400.0


class RequestBody(BaseModel):
    """A request body; unknown keys and wrong types are rejected."""

    model_config = ConfigDict(extra="forbid", strict=True)


ClaimId = Annotated[int, Field(ge=1, le=2**62)]
RequestKey = Annotated[str, Field(min_length=8, max_length=128, pattern=r"^[A-Za-z0-9._:-]+$")]
Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS)]
RowId = Annotated[int, Field(ge=1, le=2**31 - 1)]
Ranks = Annotated[list[Annotated[int, Field(ge=1, le=64)]], Field(max_length=64)]


def _storable(text: str) -> str:
    """The text, if databases can store it: PostgreSQL has no NUL, UTF-8 no half surrogate pair."""
    if "\x00" in text or (not text.isascii() and text != text.encode(errors="replace").decode()):
        raise ValueError("the text contains a character that cannot be stored")
    return text


Text = Annotated[str, AfterValidator(_storable)]
Name = Annotated[Text, Field(min_length=1, max_length=MAX_NAME_LENGTH)]
Role = Literal["annotator", "adjudicator", "researcher", "admin"]
Cap = Annotated[int, Field(ge=0, le=MAX_CAP)]
Tags = Annotated[list[Annotated[Text, Field(max_length=64)]], Field(max_length=20)]


class LoginRequest(RequestBody):
    """The token of the administrator or of an invite."""

    token: Annotated[str, Field(max_length=256)]


class DraftRequest(RequestBody):
    """A form that is not submitted yet."""

    claim: ClaimId
    form: LabelForm
    seconds: Seconds | None = None  # of work on the item so far


class SubmitRequest(RequestBody):
    """A finished form."""

    claim: ClaimId
    form: LabelForm
    key: RequestKey
    seconds: Seconds
    guideline_version: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    form_version: RowId | None = None  # of the form that the page shows; absent: the current one


class SkipRequest(RequestBody):
    """A skipped item and the reason."""

    claim: ClaimId
    key: RequestKey
    reason: Annotated[str, Field(min_length=1, max_length=200)]
    comment: Annotated[str, Field(max_length=10_000)] = ""
    seconds: Seconds
    form: LabelForm | None = None  # as it was filled in; undo restores it


class UndoRequest(RequestBody):
    """Undo the last label or skip."""

    key: RequestKey


class HeartbeatRequest(RequestBody):
    """A sign that the annotator still works on the item, or how long they have."""

    claim: ClaimId
    seconds: Seconds | None = None


class PromptRequest(RequestBody):
    """A prompt of the annotator for the live models."""

    prompt: Annotated[str, Field(min_length=1, max_length=20_000)]


class QuestionRequest(RequestBody):
    """A question of an annotator."""

    text: Annotated[Text, Field(min_length=1, max_length=5_000)]
    claim: ClaimId | None = None  # the item on the screen


class RulingRequest(RequestBody):
    """An adjudicator's ranking, in the order shown."""

    item: RowId
    key: RequestKey
    ranks: Ranks
    comment: Annotated[str, Field(max_length=10_000)] = ""
    seconds: Seconds


class DecisionRequest(RequestBody):
    """What the administrator decides about an item or a label."""

    action: Literal["exclude", "reopen", "contest", "take_back", "correct"]
    id: RowId  # of the item; of the label's event for take_back and correct
    reason: Annotated[str, Field(max_length=2_000)]
    # For correct, in the order of the item's responses; an absent field stays as it is.
    ranks: Ranks = []
    answers: Answers | None = None
    overall: Annotated[list[Overall], Field(max_length=MAX_RESPONSES)] | None = None
    flags: Annotated[list[list[FlagName]], Field(max_length=MAX_RESPONSES)] | None = None


class InviteRequest(RequestBody):
    """The name of a person who gets a link, and settings; an absent one stays."""

    name: Name
    role: Role | None = None
    cap: Cap | None = None
    tags: Tags | None = None


class PersonRequest(RequestBody):
    """Settings of a person; an absent one stays."""

    name: Name = "-"
    paused: bool | None = None
    cap: Cap | None = None
    no_cap: bool = False
    tags: Tags | None = None
    everyone_paused: bool | None = None  # pause or continue the campaign; the name is not read


class AccessRequest(RequestBody):
    """The role of a person, or the end of their access."""

    name: Name
    role: Role | None = None
    revoke: bool = False


class GuidelineRequest(RequestBody):
    """A new text of the guideline."""

    text: Annotated[Text, Field(max_length=200_000)]
    base: Annotated[int, Field(ge=0, le=2**31 - 1)]  # the version that was edited


class AnswerRequest(RequestBody):
    """The answer to a question."""

    question: RowId
    text: Annotated[Text, Field(min_length=1, max_length=20_000)]
    in_guideline: bool = False
