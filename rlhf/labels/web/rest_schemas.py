"""Bodies of the label server's REST API."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from rlhf.labels.access import MAX_NAME_LENGTH
from rlhf.labels.web.request_schemas import RequestBody, RequestKey

MAX_NEW = 256  # items or labels of one request
MAX_PAGE = 1000
MAX_TEXT = 200_000  # characters
MAX_DEPTH = 32  # of lists and objects in each other; from about 250 on, no list of items is sent


def _listable(value: Any) -> Any:
    """The JSON value, if it can be listed and exported again: one bad item would stop all others.

    Python reads NaN and half a surrogate pair, which JSON and UTF-8 do not have.
    """
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        is_deep = _depth(value) > MAX_DEPTH
    except RecursionError:
        is_deep = True
    except ValueError as error:
        raise ValueError("it has a number or a character that cannot be stored") from error
    if is_deep:
        raise ValueError(f"it has more than {MAX_DEPTH} lists and objects in each other")
    return value


def _depth(value: object) -> int:
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(_depth, value.values() if isinstance(value, dict) else value), default=0)


Text = Annotated[str, Field(max_length=MAX_TEXT)]
Messages = Annotated[list[dict[str, object]], Field(min_length=1, max_length=1024)]
Prompt = Annotated[Text | Messages, AfterValidator(_listable)]
Columns = Annotated[dict[str, object], AfterValidator(_listable)]
Rank = Annotated[int, Field(ge=1, le=2**31 - 1)]


class Paging(BaseModel):
    """Which page of a list; other parameters are rejected."""

    model_config = ConfigDict(extra="forbid")

    after: int = Field(0, ge=0, le=2**62, description="Id of the last entry that you have.")
    limit: int = Field(100, ge=1, le=MAX_PAGE, description="Longest page.")


class Entry(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(from_attributes=True)


class Problem(BaseModel):
    """Why a request was rejected."""

    detail: str


class NewItem(RequestBody):
    """A prompt and the responses to rank."""

    prompt: Prompt
    responses: Annotated[list[Text], Field(min_length=2, max_length=64)]
    models: Annotated[list[Text], Field(max_length=64, default_factory=list)]
    columns: Annotated[Columns, Field(default_factory=dict)]


class NewItems(RequestBody):
    """Items to add."""

    items: Annotated[list[NewItem], Field(min_length=1, max_length=MAX_NEW)]


class ItemIds(Entry):
    """Ids of the items, in the order of the request; a known item keeps its id."""

    ids: list[int]


class ItemEntry(Entry):
    """An item of the store."""

    id: int
    prompt: str | list[dict[str, object]]
    responses: Sequence[str]
    models: Sequence[str]
    columns: dict[str, object]


class ItemPage(Entry):
    """Items by id; `next` is the `after` of the following page, null on the last one."""

    items: list[ItemEntry]
    next: int | None


class NewLabel(RequestBody):
    """A ranking. A key that was sent before adds nothing; with another label it is an error."""

    item_id: Annotated[int, Field(ge=1, le=2**62)]
    annotator: Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH)]
    ranks: Annotated[list[Rank], Field(min_length=2, max_length=64)]
    strength: float = 1.0
    key: RequestKey


class LabelId(Entry):
    """Id of the label's event."""

    event_id: int


class LabelEntry(Entry):
    """A label that was submitted and not undone."""

    event_id: int
    item_id: int
    annotator: str
    ranks: Sequence[int]
    order_shown: Sequence[int]
    seconds: float | None
    guideline_version: int
    form_version: int
    strength: float
    purpose: str
    probability: float | None
    extra: dict[str, object]
    at: float


class LabelPage(Entry):
    """Labels by the id of their event."""

    labels: list[LabelEntry]
    next: int | None


class EventEntry(Entry):
    """An entry of the log: submit, undo, skip, late, or a decision of the administrator."""

    id: int
    kind: str
    item_id: int
    annotator: str
    at: float
    undoes: int | None
    payload: dict[str, object]


class EventPage(Entry):
    """Events by id."""

    events: list[EventEntry]
    next: int | None


class AnnotatorEntry(Entry):
    """Events of an annotator that were not undone."""

    name: str
    labels: int
    skips: int
    last_at: float | None


class ProgressEntry(Entry):
    """How far the labelling is."""

    items: int
    labelled_items: int
    labels: int
    places_left: int
    annotators: list[AnnotatorEntry]
