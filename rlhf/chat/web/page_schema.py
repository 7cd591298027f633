"""Request bodies of the chat page's own routes."""

from typing import Annotated, Literal

from pydantic import Field

from rlhf.chat.votes import ResponseOrigin
from rlhf.chat.web.conversation_tree import Name, PageId, Text, Turns
from rlhf.chat.web.schema import MAX_MESSAGES, ChatMessage, ChatRequest, StrictBody, Tokens

MAX_INSPECTED = 512  # tokens of a response that is inspected
MAX_LIKELIEST = 50

Line = Annotated[str, Field(max_length=2000)]
Messages = Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
VoterName = Annotated[str, Field(max_length=64)]
Title = Annotated[str, Field(min_length=1, max_length=200)]
Models = Annotated[list[Name], Field(min_length=1, max_length=8)]
ResponseIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=MAX_INSPECTED)]


class MarkdownBody(StrictBody):
    """A text to render."""

    text: Text


class BlindBody(StrictBody):
    """Models whose names are to be hidden."""

    models: Models


class FitBody(StrictBody):
    """A conversation whose prompt is to fit into the models' positions."""

    models: Models
    messages: Messages
    max_tokens: Tokens | None = None


class RatedBody(StrictBody):
    """What votes and thumbs have in common."""

    messages: Messages
    annotator: VoterName = ""  # empty: the server's own annotator


class Origin(StrictBody):
    """How a response came to be."""

    ending: Literal["stop", "length", "stopped"] = "stop"
    steered: bool = False

    def as_origin(self) -> ResponseOrigin:
        """The record that is stored with the response."""
        return ResponseOrigin(ending=self.ending, steered=self.steered)


class VoteBody(RatedBody):
    """The better of several responses, in the order shown; models by the names on the page."""

    responses: Annotated[list[Text], Field(min_length=2, max_length=8)]
    models: Models
    origins: Annotated[list[Origin], Field(max_length=8, default_factory=list)]
    vote: Annotated[str, Field(max_length=8)]


class ThumbBody(RatedBody):
    """A rating of one response."""

    response: Text
    model: Name
    origin: Origin = Origin()
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
    """A chat request whose response begins with these ids, or with this text."""

    ids: ResponseIds | None = None
    response: Text = ""


class CompareBody(InspectBody):
    """A response to inspect under several models."""

    others: Annotated[list[Name], Field(max_length=8, default_factory=list)]


class EmbeddingBody(InspectBody):
    """A response on a map of tokens, or of these prompts."""

    texts: Annotated[list[Line], Field(max_length=200, default_factory=list)]


class SaveBody(StrictBody):
    """New and changed turns of a conversation."""

    title: Title  # of a new conversation
    leaf: PageId | None  # the last turn of the branch that is shown
    turns: Turns


class TitleBody(StrictBody):
    """Another title of a conversation."""

    title: Title


class BranchBody(StrictBody):
    """A branch to export, from its first prompt on."""

    turns: Turns
