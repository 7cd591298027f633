"""Request bodies of the chat page's own routes."""

from typing import Annotated

from pydantic import Field

from rlhf.chat.web.schema import MAX_MESSAGES, ChatMessage, ChatRequest, StrictBody

MAX_TEXT_LENGTH = 200_000  # characters
MAX_INSPECTED = 512  # tokens of a response that is inspected
MAX_LIKELIEST = 50

Name = Annotated[str, Field(max_length=4096)]
Text = Annotated[str, Field(max_length=MAX_TEXT_LENGTH)]
Line = Annotated[str, Field(max_length=2000)]
Messages = Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
Models = Annotated[list[Name], Field(min_length=1, max_length=8)]
ResponseIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=MAX_INSPECTED)]


class MarkdownBody(StrictBody):
    """A text to render."""

    text: Text


class BlindBody(StrictBody):
    """Models whose names are to be hidden."""

    models: Models


class VoteBody(StrictBody):
    """The better of several responses, in the order shown; models by the names on the page."""

    messages: Messages
    responses: Annotated[list[Text], Field(min_length=2, max_length=8)]
    models: Models
    vote: Annotated[str, Field(max_length=8)]


class ThumbBody(StrictBody):
    """A rating of one response."""

    messages: Messages
    response: Text
    model: Name
    up: bool


class RewardsBody(StrictBody):
    """Responses to score."""

    messages: Messages
    responses: Annotated[list[Text], Field(min_length=1, max_length=8)]


class InspectBody(StrictBody):
    """A response to inspect: its text, or its ids if they are known."""

    model: Name
    messages: Messages
    response: Text = ""
    ids: ResponseIds | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    most: Annotated[int, Field(ge=1, le=MAX_LIKELIEST)] = 10


class ContinueBody(ChatRequest):
    """A chat request whose response begins with these ids."""

    ids: ResponseIds


class CompareBody(InspectBody):
    """A response to inspect under several models."""

    others: Annotated[list[Name], Field(max_length=8, default_factory=list)]


class EmbeddingBody(InspectBody):
    """A response on a map of tokens, or of these prompts."""

    texts: Annotated[list[Line], Field(max_length=200, default_factory=list)]
