"""Tool calls in what a model wrote, parsed by transformers in the format of the chat template."""

import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any

from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import ConfigError
from rlhf.types import Tools

ToolCalls = Sequence[Mapping[str, object]]


def check_tool_calls(chat: ChatTokenizer) -> None:
    """Check that the template renders tools, calls and results, and that calls can be parsed.

    Raises:
        ConfigError: what the template leaves out; no response template for it.
    """
    template = chat.format
    rendered = {
        "tools": template.renders_tools,
        "tool_calls": template.renders_tool_calls,
        "messages of role tool": "tool" in template.roles,
    }
    for name, is_rendered in rendered.items():
        if not is_rendered:
            raise ConfigError(
                f"the environment offers tools, but the chat template ({chat.template_source}) "
                f"leaves out {name}; use a model with a template for tools, or give one with "
                "chat_template: FILE.",
                code="unsupported",
            )
    if "tools" not in inspect.signature(chat.tokenizer.parse_response).parameters:
        raise ConfigError(
            "parsing tool calls needs transformers 5.15 or later; install it, or use an "
            "environment without tools.",
            code="missing-package",
        )
    if response_template(chat) is None:
        raise ConfigError(
            "the tokenizer has no response_template, and TRL knows none for its chat template "
            f"({chat.template_source}): tool calls cannot be parsed. Set response_template in "
            "tokenizer_config.json (transformers' documentation of response parsing has the form).",
            code="unsupported",
        )


def response_template(chat: ChatTokenizer) -> Any:
    """How responses are written: the tokenizer's own, or TRL's for its chat template; or None."""
    own = getattr(chat.tokenizer, "response_template", None)
    return _known_template(str(chat.tokenizer.chat_template)) if own is None else own


@cache
def _known_template(chat_template: str) -> Any:
    from trl import add_response_schema  # takes seconds

    # It is set on a stand-in: the tokenizer is saved with the model, and stays as it was.
    holder: Any = SimpleNamespace(chat_template=chat_template)
    try:
        add_response_schema(holder)
    except ValueError:  # a template that it does not know
        return None
    return getattr(holder, "response_template", None)


def parse_tool_calls(
    chat: ChatTokenizer, before: Sequence[int], ids: Sequence[int], tools: Tools
) -> tuple[str, ToolCalls] | None:
    """(content, tool calls) of a turn; None where it has no call that can be parsed.

    Args:
        chat: the tokenizer, checked by `check_tool_calls`.
        before: ids of the conversation before the turn.
        ids: of the turn.
        tools: the functions, whose schemas give arguments their types.
    """
    try:
        parsed: Any = chat.tokenizer.parse_response(
            list(ids),
            response_template(chat),
            prefix=list(before),
            tools=[dict(tool) for tool in tools],
        )
    except (ValueError, TypeError, KeyError):  # the model wrote a call that is none
        return None
    calls = parsed.get("tool_calls") or []
    if not calls or not all(map(_is_call, calls)):
        return None
    content = str(parsed.get("content") or "")
    return chat.control_tokens.sub("", content).strip(), calls


def _is_call(call: Any) -> bool:
    function = call.get("function") if isinstance(call, Mapping) else None
    return (
        isinstance(function, Mapping)
        and isinstance(function.get("name"), str)
        and isinstance(function.get("arguments"), Mapping)
    )
