"""What OpenAI's clients send. A field that would be ignored and could matter is refused."""

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rlhf.data.rows.messages import messages_of
from rlhf.types import Message

MOST_ANSWERS = 16  # of one request, over all its prompts
MOST_TURNS = 1024
MOST_TOOLS = 128
# Fields that are not done here, and the values with which they ask for nothing else than what is
# done anyway. Null and what is empty ask for nothing in any field.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": (),
    "response_format": ({"type": "text"},),
    "tools": (),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "functions": (),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "audio": (),
    "web_search_options": (),
    "verbosity": ("medium",),
    "best_of": (1,),
    "echo": (False,),
    "suffix": (),
    # Those of vLLM and other servers.
    "top_k": (-1, 0),
    "min_p": (0,),
    "typical_p": (1,),
    "repetition_penalty": (1,),
    "length_penalty": (1,),
    "min_tokens": (0,),
    "ignore_eos": (False,),
    "use_beam_search": (False,),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True, False),
    "include_stop_str_in_output": (False,),
    "return_tokens_as_token_ids": (False,),
    "add_generation_prompt": (True,),
    "continue_final_message": (False,),
}
# Who asks, what the service should keep, when and how it should work: no answer depends on these.
WITHOUT_EFFECT = (
    "user", "metadata", "safety_identifier", "store", "service_tier", "priority", "request_id",
    "prompt_cache_key", "prompt_cache_retention", "cache_control", "prediction",
)  # fmt: skip
# Values of a message's fields that say nothing: lm-evaluation-harness writes a type.
NEUTRAL_IN_TURNS: dict[str, tuple[Any, ...]] = {
    "type": ("text", "message"),
    "refusal": (),
    "annotations": (),
    "audio": (),
    "function_call": (),
}
# What to do instead of giving a field that other servers have.
INSTEAD = {
    "reasoning_effort": "give it in chat_template_kwargs, where the model's template reads it",
    "enable_thinking": "give it in chat_template_kwargs",
    "max_new_tokens": "use max_tokens",
    "stop_token_ids": "use stop",
}

Stop = Annotated[str, Field(min_length=1, max_length=200)]
Count = Annotated[int, Field(ge=1, le=MOST_ANSWERS)]
Tokens = Annotated[int, Field(ge=1, le=1_000_000)]
# No text of a name can be a control token.
SpeakerName = Annotated[str, Field(pattern=r"^[\w.-]{1,64}$")]


def asking(fields: Any, neutral: Mapping[str, tuple[Any, ...]], *, kept: Collection[str]) -> Any:
    """The fields of a JSON object without those that ask for nothing; `kept` stay as they are."""
    if not isinstance(fields, dict):
        return fields
    return {
        name: value
        for name, value in fields.items()
        if name in kept
        or not (
            name in WITHOUT_EFFECT or value in (None, "", [], {}) or value in neutral.get(name, ())
        )
    }


class Strict(BaseModel):
    """Unknown fields and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class TextPart(Strict):
    """A part of a message; no other kind is read here."""

    type: Literal["text"]
    text: str

    @model_validator(mode="before")
    @classmethod
    def without_what_says_nothing(cls, fields: Any) -> Any:
        """Anything else in a part is refused by name."""
        return asking(fields, {}, kept=("type", "text"))


class Turn(Strict):
    """A message. Its role and its speaker's name are what the template makes of them.

    Clients send an answer back as they got it, with fields that are empty here.
    """

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart]
    name: SpeakerName | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None  # vLLM's name for it
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None

    @model_validator(mode="before")
    @classmethod
    def without_what_says_nothing(cls, fields: Any) -> Any:
        """Anything else in these fields is refused by name."""
        left = asking(fields, NEUTRAL_IN_TURNS, kept=("role", "content"))
        if isinstance(left, dict) and "tool_calls" in left and left.get("content") is None:
            return {**left, "content": ""}
        return left

    def plain(self) -> Message:
        """As templates read it.

        Raises:
            DataError: a tool call without a name.
        """
        text = self.content
        if not isinstance(text, str):
            text = "".join(part.text for part in text)
        more = {
            "name": self.name,
            "reasoning_content": self.reasoning_content or self.reasoning,
            "tool_call_id": self.tool_call_id,
        }
        turn = {key: value for key, value in more.items() if value is not None}
        turn = {"role": self.role, "content": text, **turn}
        if self.role != "assistant" or not self.tool_calls:
            return turn
        return messages_of([{**turn, "tool_calls": self.tool_calls}], "messages")[0]


class StreamOptions(Strict):
    """Of a streamed answer."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    continuous_usage_stats: Literal[False] | None = None


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
        """What is left has an effect here, or is refused by name."""
        return asking(fields, NEUTRAL, kept=cls.model_fields)

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
    chat_template_kwargs: dict[str, Any] | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=MOST_TOOLS)] | None = None
    tool_choice: Literal["none", "auto"] | None = None


Ids = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=1_000_000)]
SeveralIds = Annotated[list[Ids], Field(min_length=1)]


class CompletionRequest(Generation):
    """POST /v1/completions."""

    prompt: str | Ids | Annotated[list[str], Field(min_length=1)] | SeveralIds
    max_tokens: Annotated[int, Field(ge=0, le=1_000_000)] | None = None  # 0 with echo
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = None


KNOWN = {*ChatRequest.model_fields, *CompletionRequest.model_fields}
