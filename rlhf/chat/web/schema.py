"""What OpenAI's clients send. A field that would be ignored and could matter is refused."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST_ANSWERS = 16  # of one request, over all its prompts
MOST_TURNS = 1024
# What changes nothing, and the values with which it does; a field of any value says who asks.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
    "logit_bias": (None, {}),
    "response_format": (None, {"type": "text"}),
    "tools": (None, []),
    "tool_choice": (None, "none", "auto"),
    "parallel_tool_calls": (None, True, False),
    "modalities": (None, ["text"]),
    "service_tier": (None, "auto", "default"),
    "store": (None, False),
    "best_of": (None, 1),
    "echo": (None, False),
    "suffix": (None, ""),
}
EMPTY_IN_TURNS = ("refusal", "annotations", "audio", "function_call", "tool_calls", "name")
ABOUT_THE_SENDER = ("user", "metadata", "safety_identifier", "prompt_cache_key")

Stop = Annotated[str, Field(min_length=1, max_length=200)]
Count = Annotated[int, Field(ge=1, le=MOST_ANSWERS)]
Tokens = Annotated[int, Field(ge=1, le=1_000_000)]


class Strict(BaseModel):
    """Unknown fields and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class TextPart(Strict):
    """A part of a message; no other kind is read here."""

    type: Literal["text"]
    text: str


class Turn(Strict):
    """A message. `developer` is OpenAI's newer word for system.

    Clients send an answer back as they got it, with fields that are empty here.
    """

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    @model_validator(mode="before")
    @classmethod
    def without_empty_fields(cls, fields: Any) -> Any:
        """A turn without what says nothing; anything in these fields is refused by name."""
        if not isinstance(fields, dict):
            return fields
        return {k: v for k, v in fields.items() if k not in EMPTY_IN_TURNS or v not in (None, [])}

    def plain(self) -> dict[str, str]:
        """As templates read it."""
        text = self.content
        if not isinstance(text, str):
            text = "".join(part.text for part in text)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class StreamOptions(Strict):
    """Of a streamed answer."""

    include_usage: bool = False
    include_obfuscation: bool = False


class Generation(Strict):
    """What chat and text completions share."""

    model: str
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    n: Count | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=16)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None

    @model_validator(mode="before")
    @classmethod
    def without_what_changes_nothing(cls, fields: Any) -> Any:
        """Refuse what would have to change the answer and is not done here."""
        if not isinstance(fields, dict):
            return fields
        for name, values in NEUTRAL.items():
            if name in fields and fields[name] not in values:
                raise ValueError(f"{name} is not supported; leave it out")
        return {k: v for k, v in fields.items() if k not in NEUTRAL and k not in ABOUT_THE_SENDER}

    @property
    def stops(self) -> list[str]:
        """The stop texts."""
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or [])


class ChatRequest(Generation):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Turn], Field(min_length=1, max_length=MOST_TURNS)]
    max_completion_tokens: Tokens | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None


Ids = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=1_000_000)]
SeveralIds = Annotated[list[Ids], Field(min_length=1)]


class CompletionRequest(Generation):
    """POST /v1/completions."""

    prompt: str | Ids | Annotated[list[str], Field(min_length=1)] | SeveralIds
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
