"""The prompt of a chat request: messages, tools and template variables through the template."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NoReturn

from rlhf.chat.policy_info import PolicyInfo
from rlhf.chat.prompt import encode_prompt
from rlhf.chat.web.errors import BadRequest, error_param
from rlhf.chat.web.schema import ChatMessage, ChatRequest
from rlhf.data.tokenization.template import check_template_kwargs
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import ConfigError
from rlhf.types import Message, Tools

KWARGS = "chat_template_kwargs"
UNSUPPORTED = "unsupported_parameter"  # OpenAI's code for a field that the template ignores


def with_template_kwargs(
    model: PolicyInfo, template_kwargs: Mapping[str, object] | None
) -> PolicyInfo:
    """The model with a request's template variables, which override its own.

    The response has to be decoded with them too: they decide whether the prompt opens a thought.

    Raises:
        BadRequest: an invalid name or value, or a template that fails with them.
    """
    if not template_kwargs:
        return model
    if model.chat.raw:
        raise BadRequest(f"{KWARGS}: this model has no chat template; leave it out", param=KWARGS)
    _check_unicode(KWARGS, template_kwargs)
    chat = model.chat
    chat = replace(chat, template_kwargs={**chat.template_kwargs, **template_kwargs})
    try:
        check_template_kwargs(template_kwargs)
        _check_no_control_tokens(chat, template_kwargs)
        _ = chat.format  # raises if the template does not render with them
    except ConfigError as error:
        raise BadRequest(str(error), param=KWARGS) from error
    return replace(model, chat=chat)


def chat_prompt_ids(model: PolicyInfo, body: ChatRequest) -> list[int]:
    """Ids of the request's prompt.

    Raises:
        BadRequest: a field that the template ignores, or messages that it rejects.
    """
    messages = request_messages(body.messages)
    tools = [] if body.tool_choice == "none" else list(body.tools or [])
    _check_unicode("tools", tools)
    _check_rendered_fields(model.chat, messages, tools)
    with error_param("messages"):
        return encode_prompt(model, messages, tools)


def request_messages(messages: Sequence[ChatMessage]) -> list[Message]:
    """The messages in the form that templates read.

    Raises:
        BadRequest: the place of one that is not valid.
    """
    converted = []
    for index, message in enumerate(messages):
        place = f"messages[{index}]"
        with error_param(place):
            converted.append(message.as_message())
        _check_unicode(place, {**converted[index], "content": ""})
        for field in ("reasoning_content", "reasoning", "tool_calls"):
            if getattr(message, field) and message.role != "assistant":
                reason = f"is a field of assistant messages, not of {message.role} messages"
                _reject(f"{place}.{field}", reason)
        if message.tool_call_id and message.role != "tool":
            reason = f"is a field of tool messages, not of {message.role} messages"
            _reject(f"{place}.tool_call_id", reason)
    return converted


def _check_rendered_fields(chat: ChatTokenizer, messages: Sequence[Message], tools: Tools) -> None:
    """Reject fields that the template ignores. A raw model reads only the last message's text."""
    form = None if chat.raw else chat.format
    reason = "is ignored by this model's chat template; leave it out"
    for index, message in enumerate(messages):
        if "reasoning_content" in message and not (form and form.renders_thoughts):
            _reject(f"messages[{index}].reasoning_content", reason, UNSUPPORTED)
        if "tool_calls" in message and not (form and form.renders_tool_calls):
            _reject(f"messages[{index}].tool_calls", reason, UNSUPPORTED)
    if tools and not (form and form.renders_tools):
        _reject("tools", reason, UNSUPPORTED)


def _check_no_control_tokens(chat: ChatTokenizer, value: object) -> None:
    """Texts of a request are escaped, but a template variable could become a control token."""
    if isinstance(value, str) and (match := chat.control_tokens.search(value)):
        raise ConfigError(
            f"{KWARGS}: {match.group()!r} is a control token of this model.", code="bad-value"
        )
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    for part in value if isinstance(value, list) else []:
        _check_no_control_tokens(chat, part)


def _check_unicode(place: str, value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        _reject(place, "has text that is not UTF-8")


def _reject(place: str, reason: str, code: str | None = None) -> NoReturn:
    raise BadRequest(f"{place} {reason}", param=place, openai_code=code)
