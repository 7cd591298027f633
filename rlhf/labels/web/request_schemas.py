"""What the page sends: the body of each request, checked before anything reads it."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from rlhf.labels.web.form import Form

LONGEST_SECONDS = 86_400.0


class Strict(BaseModel):
    """Every body is checked: unknown keys and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


ClaimId = Annotated[int, Field(ge=1, le=2**62)]
Key = Annotated[str, Field(min_length=8, max_length=128, pattern=r"^[A-Za-z0-9._:-]+$")]
Seconds = Annotated[float, Field(ge=0, le=LONGEST_SECONDS)]


class Login(Strict):
    """A token, the researcher's or an invite's."""

    token: Annotated[str, Field(max_length=256)]


class Draft(Strict):
    """What is not submitted yet."""

    claim: ClaimId
    form: Form


class Submission(Draft):
    """A finished form."""

    key: Key
    seconds: Seconds
    guideline_version: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0


class Skip(Strict):
    """Why an item is passed on."""

    claim: ClaimId
    key: Key
    reason: Annotated[str, Field(min_length=1, max_length=200)]
    comment: Annotated[str, Field(max_length=10_000)] = ""
    seconds: Seconds


class Undo(Strict):
    """Take the last one back."""

    key: Key


class Beat(Strict):
    """A sign of life."""

    claim: ClaimId


class Ask(Strict):
    """A prompt of the annotator's own."""

    prompt: Annotated[str, Field(min_length=1, max_length=20_000)]
