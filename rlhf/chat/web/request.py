"""The prompt of a chat request: its turns, tools and variables, as the template has them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rlhf.chat.conversation import encode
from rlhf.chat.loading import ChatModel
from rlhf.chat.web.errors import Unfit, about
from rlhf.chat.web.schema import ChatRequest, Turn
from rlhf.data.tokenization.template import check_template_kwargs
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import ConfigError
from rlhf.types import Message, Tools

KWARGS = "chat_template_kwargs"
LEFT_OUT = "unsupported_parameter"  # OpenAI's code for it


def asked_model(model: ChatModel, template_kwargs: Mapping[str, Any] | None) -> ChatModel:
    """The model, spoken to with a request's template variables over its own.

    Its `chat` has to decode the answer too: whether a prompt opens a thought depends on them.

    Raises:
        Unfit: no variables of a template, or a template that fails with them.
    """
    if not template_kwargs:
        return model
    if model.chat.raw:
        raise Unfit(f"{KWARGS}: this model has no chat template; leave it out", param=KWARGS)
    _refuse_broken(KWARGS, template_kwargs)
    chat = model.chat
    chat = replace(chat, template_kwargs={**chat.template_kwargs, **template_kwargs})
    try:
        check_template_kwargs(template_kwargs)
        _refuse_control_tokens(chat, template_kwargs)
        _ = chat.format  # the template has to render with them
    except ConfigError as error:
        raise Unfit(str(error), param=KWARGS) from error
    return replace(model, chat=chat)


def asked_prompt(model: ChatModel, body: ChatRequest) -> list[int]:
    """Ids of the request's prompt.

    Raises:
        Unfit: what the template would leave out, by its place, or turns that it refuses.
    """
    turns = asked_turns(body.messages)
    tools = [] if body.tool_choice == "none" else list(body.tools or [])
    _refuse_broken("tools", tools)
    _check_fields(model.chat, turns, tools)
    with about("messages"):
        return encode(model, turns, tools)


def asked_turns(turns: Sequence[Turn]) -> list[Message]:
    """The turns as templates read them.

    Raises:
        Unfit: the place of one that cannot be read.
    """
    plain = []
    for at, turn in enumerate(turns):
        with about(f"messages[{at}]"):
            plain.append(turn.plain())
        _refuse_broken(f"messages[{at}]", {**plain[at], "content": ""})
        for field in ("reasoning_content", "reasoning", "tool_calls"):
            if getattr(turn, field) and turn.role != "assistant":
                _refuse(f"messages[{at}].{field}", f"belongs to the assistant, not to {turn.role}")
        if turn.tool_call_id and turn.role != "tool":
            _refuse(f"messages[{at}].tool_call_id", f"belongs to the tool, not to {turn.role}")
    return plain


def _check_fields(chat: ChatTokenizer, turns: Sequence[Message], tools: Tools) -> None:
    """Refuse what the template leaves out. A raw model reads the last turn's text alone."""
    form = None if chat.raw else chat.format
    left_out = "is left out by this model's chat template; leave it out of the request"
    for at, turn in enumerate(turns):
        if "reasoning_content" in turn and not (form and form.renders_thoughts):
            _refuse(f"messages[{at}].reasoning_content", left_out, LEFT_OUT)
        if "tool_calls" in turn and not (form and form.renders_tool_calls):
            _refuse(f"messages[{at}].tool_calls", left_out, LEFT_OUT)
    if tools and not (form and form.renders_tools):
        _refuse("tools", left_out, LEFT_OUT)


def _refuse_control_tokens(chat: ChatTokenizer, value: Any) -> None:
    """No text of a request is a control token; in a template's variable it would become one."""
    if isinstance(value, str) and (found := chat.control_tokens.search(value)):
        raise ConfigError(f"{KWARGS}: {found.group()!r} is a control token of this model.")
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    for part in value if isinstance(value, list) else []:
        _refuse_control_tokens(chat, part)


def _refuse_broken(place: str, value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        _refuse(place, "holds text that is not UTF-8")


def _refuse(place: str, reason: str, code: str | None = None) -> None:
    raise Unfit(f"{place} {reason}", param=place, openai_code=code)
