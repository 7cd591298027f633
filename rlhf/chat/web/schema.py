"""Request bodies of OpenAI's API. A field that would be ignored and could matter is rejected."""

from collections.abc import Collection, Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from rlhf.data.rows.messages import messages_of
from rlhf.types import Message

MAX_RESPONSES = 16  # of one request, over all its prompts
MAX_MESSAGES = 1024
MAX_TOOLS = 128
# Fields that are not supported, with the values that change nothing. Null and empty values change
# nothing in any field.
NEUTRAL: dict[str, tuple[object, ...]] = {
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
    "reasoning_effort": ("medium",),
    "best_of": (1,),
    "echo": (False,),
    "suffix": (),
    # Fields of vLLM and other servers.
    "typical_p": (1,),
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
# Fields about the sender, storage, priority and caching: no response depends on them.
WITHOUT_EFFECT = (
    "user", "metadata", "safety_identifier", "store", "service_tier", "priority", "request_id",
    "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "cache_control",
    "prediction",
)  # fmt: skip
# Values of a message's fields that change nothing: lm-evaluation-harness writes a type.
NEUTRAL_IN_MESSAGES: dict[str, tuple[object, ...]] = {
    "type": ("text", "message"),
    "refusal": (),
    "annotations": (),
    "audio": (),
    "function_call": (),
}
# Advice for fields that other servers have.
INSTEAD = {
    "reasoning_effort": "set it in chat_template_kwargs if the model's template reads it",
    "enable_thinking": "set it in chat_template_kwargs",
    "max_new_tokens": "use max_tokens",
    "stop_token_ids": "use stop",
}

# Types of a message's parts that are not text, of OpenAI and other servers.
NOT_TEXT = (
    "image_url", "image", "input_image", "input_audio", "audio", "audio_url", "video", "video_url",
    "file", "input_file",
)  # fmt: skip
UNSUPPORTED_PART = "unsupported_part"  # the type of that validation error

Stop = Annotated[str, Field(min_length=1, max_length=200)]
Count = Annotated[int, Field(ge=1, le=MAX_RESPONSES)]
Tokens = Annotated[int, Field(ge=1, le=1_000_000)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
# The pattern excludes every control token.
SpeakerName = Annotated[str, Field(pattern=r"^[\w.-]{1,64}$")]


def effective_fields(
    fields: object, neutral: Mapping[str, tuple[object, ...]], *, keep: Collection[str]
) -> object:
    """The fields of a JSON object without those that change nothing; those in `keep` remain."""
    if not isinstance(fields, dict):
        return fields
    return {
        name: value
        for name, value in fields.items()
        if name in keep
        or not (
            name in WITHOUT_EFFECT or value in (None, "", [], {}) or value in neutral.get(name, ())
        )
    }


class StrictBody(BaseModel):
    """Rejects unknown fields and wrong types."""

    model_config = ConfigDict(extra="forbid", strict=True)


class TextPart(StrictBody):
    """A part of a message; images, audio and files are not supported."""

    type: Literal["text"]
    text: str

    @model_validator(mode="before")
    @classmethod
    def without_neutral_fields(cls, fields: object) -> object:
        """Drop fields without effect; any other unknown field is rejected by name."""
        kind = fields.get("type") if isinstance(fields, dict) else None
        if kind in NOT_TEXT:
            raise PydanticCustomError(
                UNSUPPORTED_PART, f"{kind} parts are not supported; send text"
            )
        if kind == "refusal" and isinstance(fields, dict):
            return {"type": "text", "text": fields.get("refusal")}
        return effective_fields(fields, {}, keep=("type", "text"))


class ChatMessage(StrictBody):
    """A message. The template decides what its role and name mean.

    Clients send a response back as they got it, with fields that are empty here.
    """

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart]
    name: SpeakerName | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None  # vLLM's name for it
    tool_calls: list[dict[str, object]] | None = None
    tool_call_id: str | None = None

    @model_validator(mode="before")
    @classmethod
    def without_neutral_fields(cls, fields: object) -> object:
        """Drop fields without effect; any other unknown field is rejected by name."""
        effective = effective_fields(fields, NEUTRAL_IN_MESSAGES, keep=("role", "content"))
        if not isinstance(effective, dict) or "tool_calls" not in effective:
            return effective
        return effective if effective.get("content") is not None else {**effective, "content": ""}

    def as_message(self) -> Message:
        """The message in the form that templates read.

        Raises:
            DataError: a tool call without a name.
        """
        text = self.content
        if not isinstance(text, str):
            text = "".join(part.text for part in text)
        message: Message = {"role": self.role, "content": text}
        if self.name is not None:
            message["name"] = self.name
        if (thought := self.reasoning_content or self.reasoning) is not None:
            message["reasoning_content"] = thought
        if self.tool_call_id is not None:
            message["tool_call_id"] = self.tool_call_id
        if self.role != "assistant" or not self.tool_calls:
            return message
        return messages_of([{**message, "tool_calls": self.tool_calls}], "messages")[0]


class StreamOptions(StrictBody):
    """Options of a streamed response."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    continuous_usage_stats: Literal[False] | None = None


class GenerationBody(StrictBody):
    """Fields that chat and text completions share."""

    model: str
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None  # -1 and 0 keep all
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None  # by token id
    n: Count | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=16)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None

    @model_validator(mode="before")
    @classmethod
    def without_neutral_fields(cls, fields: object) -> object:
        """Drop fields without effect; any other unknown field is rejected by name."""
        return effective_fields(fields, NEUTRAL, keep=cls.model_fields)

    @property
    def stop_texts(self) -> list[str]:
        """The stop texts as a list."""
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or [])


class JSONSchemaFormat(StrictBody):
    """The schema of a structured response."""

    name: Annotated[str, Field(max_length=64)]
    schema_: Annotated[dict[str, object], Field(alias="schema")]
    description: str | None = None
    strict: bool | None = None  # a response always fits its schema here


class ResponseFormat(StrictBody):
    """The form that a response has to have."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JSONSchemaFormat | None = None


class ToolName(StrictBody):
    """The function of a tool."""

    name: str


class NamedTool(StrictBody):
    """The tool that the response has to call."""

    type: Literal["function"]
    function: ToolName


class ChatRequest(GenerationBody):
    """POST /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: Tokens | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    chat_template_kwargs: dict[str, object] | None = None
    tools: Annotated[list[dict[str, object]], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    response_format: ResponseFormat | None = None


PromptIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=1_000_000)]
SeveralPromptIds = Annotated[list[PromptIds], Field(min_length=1)]


RawPrompts = str | PromptIds | Annotated[list[str], Field(min_length=1)] | SeveralPromptIds


class CompletionRequest(GenerationBody):
    """POST /v1/completions."""

    prompt: RawPrompts
    max_tokens: Annotated[int, Field(ge=0, le=1_000_000)] | None = None  # 0 with echo
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = None


class EmbeddingRequest(StrictBody):
    """POST /v1/embeddings."""

    model: str
    input: RawPrompts
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Tokens | None = None

    @model_validator(mode="before")
    @classmethod
    def without_neutral_fields(cls, fields: object) -> object:
        """Drop fields without effect; any other unknown field is rejected by name."""
        return effective_fields(fields, {}, keep=("model", "input"))


KNOWN = {*ChatRequest.model_fields, *CompletionRequest.model_fields, *EmbeddingRequest.model_fields}
