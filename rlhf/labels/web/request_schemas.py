"""Schemas of the page's request bodies."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from rlhf.labels.access import MAX_NAME_LENGTH
from rlhf.labels.web.form import LabelForm

MAX_SECONDS = 86_400.0


class RequestBody(BaseModel):
    """A request body; unknown keys and wrong types are rejected."""

    model_config = ConfigDict(extra="forbid", strict=True)


ClaimId = Annotated[int, Field(ge=1, le=2**62)]
RequestKey = Annotated[str, Field(min_length=8, max_length=128, pattern=r"^[A-Za-z0-9._:-]+$")]
Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS)]


class LoginRequest(RequestBody):
    """The token of the administrator or of an invite."""

    token: Annotated[str, Field(max_length=256)]


class DraftRequest(RequestBody):
    """A form that is not submitted yet."""

    claim: ClaimId
    form: LabelForm


class SubmitRequest(DraftRequest):
    """A finished form."""

    key: RequestKey
    seconds: Seconds
    guideline_version: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0


class SkipRequest(RequestBody):
    """A skipped item and the reason."""

    claim: ClaimId
    key: RequestKey
    reason: Annotated[str, Field(min_length=1, max_length=200)]
    comment: Annotated[str, Field(max_length=10_000)] = ""
    seconds: Seconds


class UndoRequest(RequestBody):
    """Undo the last label or skip."""

    key: RequestKey


class HeartbeatRequest(RequestBody):
    """A sign that the annotator still works on the item."""

    claim: ClaimId


class PromptRequest(RequestBody):
    """A prompt of the annotator for the live models."""

    prompt: Annotated[str, Field(min_length=1, max_length=20_000)]


class InviteRequest(RequestBody):
    """The name of an annotator who gets a link."""

    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH)]
