"""Request bodies of the score server: this project's, vLLM's /classify, OpenRLHF's /get_reward."""

from typing import Annotated

from pydantic import Field, model_validator

from rlhf.chat.web.schema import (
    MAX_MESSAGES,
    MAX_TOOLS,
    ChatMessage,
    StrictBody,
    effective_fields,
)

MAX_TEXTS = 256  # of one request
# Fields of vLLM with the values that change nothing here.
NEUTRAL_IN_CLASSIFY: dict[str, tuple[object, ...]] = {
    "truncate_prompt_tokens": (-1,),
    "add_special_tokens": (True, False),
    "add_generation_prompt": (False,),
    "continue_final_message": (False,),
    "padding": ("do_not_pad",),
    "activation": (),
}

Messages = Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
Texts = Annotated[list[str], Field(min_length=1, max_length=MAX_TEXTS)]


class ScoreItem(StrictBody):
    """A prompt and a response to score."""

    prompt: str | Messages
    response: str
    tools: Annotated[list[dict[str, object]], Field(max_length=MAX_TOOLS)] | None = None


class ScoreRequest(StrictBody):
    """POST /v1/score."""

    model: str | None = None
    items: Annotated[list[ScoreItem], Field(min_length=1, max_length=MAX_TEXTS)]


class ClassifyRequest(StrictBody):
    """POST /classify, as vLLM has it: rendered texts, or a conversation with its response."""

    model: str | None = None
    input: str | Texts | None = None
    messages: Messages | None = None
    use_activation: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def without_neutral_fields(cls, fields: object) -> object:
        """Drop fields without effect; any other unknown field is rejected by name."""
        return effective_fields(fields, NEUTRAL_IN_CLASSIFY, keep=cls.model_fields)

    @property
    def texts(self) -> list[str]:
        """The texts as a list."""
        return [self.input] if isinstance(self.input, str) else list(self.input or [])


class RewardRequest(StrictBody):
    """POST /get_reward, as OpenRLHF sends it; prompts and labels are for rules, not for a model."""

    query: Texts
    prompts: list[object] | None = None
    labels: list[object] | None = None
