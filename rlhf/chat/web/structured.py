"""The grammar that a chat request sets for its response: JSON, a tool call, or both."""

from collections.abc import Sequence
from dataclasses import dataclass

from rlhf.chat.grammar import Grammar, GrammarCompiler, json_rule
from rlhf.chat.tool_calls import ToolCallForm, tool_call_form
from rlhf.chat.web.errors import BadRequest
from rlhf.chat.web.schema import ChatRequest, NamedTool
from rlhf.data.tokenization.thoughts import END_THINK, THINK
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import ConfigError

FORMAT, CHOICE = "response_format", "tool_choice"
UNSUPPORTED = "unsupported_parameter"


@dataclass(frozen=True, kw_only=True)
class RequestTools:
    """The tools that a response may call, and how the model's template writes a call."""

    form: ToolCallForm
    parameters: dict[str, object]  # by name, the JSON schema of the arguments


def request_tools(chat: ChatTokenizer, body: ChatRequest) -> RequestTools | None:
    """The tools of a request; None without any, or where calls of this template stay text.

    Raises:
        BadRequest: a tool without a name.
    """
    if not body.tools or body.tool_choice == "none":
        return None
    parameters: dict[str, object] = {}
    for index, tool in enumerate(body.tools):
        function = tool.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(function, dict) or not isinstance(name, str) or not name:
            place = f"tools[{index}]"
            raise BadRequest(f"{place} is not a function with a name", param=place)
        parameters[name] = function.get("parameters") or {"type": "object"}
    form = tool_call_form(chat)
    return RequestTools(form=form, parameters=parameters) if form else None


def grammar_field(body: ChatRequest) -> str | None:
    """The field that sets a grammar for the response; None without one."""
    if _must_call(body):
        return CHOICE
    return FORMAT if _format_of(body) != "text" else None


def response_grammar(
    compiler: GrammarCompiler, chat: ChatTokenizer, body: ChatRequest, tools: RequestTools | None
) -> Grammar:
    """The grammar of the response. A thought may precede what it describes.

    Raises:
        BadRequest: the model's template cannot write what the request asks for, or a schema is not
            supported.
    """
    param = grammar_field(body)
    _check(chat, body, tools)
    choices = []
    if not _must_call(body):
        choices.append(json_rule(_schema_of(body)))
    if tools:
        choices += [_call(compiler, tools, name) for name in _callable(body, tools)]
    body_rule = " | ".join(f"({choice})" for choice in choices)
    try:
        return compiler.compile(f"{_start(compiler, chat)}body: {body_rule}\n")
    except ConfigError as error:
        raise BadRequest(f"{param}: {error}", param=param, openai_code=UNSUPPORTED) from error


def _check(chat: ChatTokenizer, body: ChatRequest, tools: RequestTools | None) -> None:
    lead = "" if chat.raw else chat.format.lead.replace(THINK, "").replace(END_THINK, "")
    if lead.strip():
        raise BadRequest(
            f"grammars are not supported for a template that begins a response with {lead!r}",
            param=grammar_field(body),
            openai_code=UNSUPPORTED,
        )
    if _must_call(body) and not body.tools:
        raise BadRequest(f"{CHOICE} needs tools", param=CHOICE)
    if _must_call(body) and tools is None:
        raise BadRequest(
            f"{CHOICE}: the form in which this model's template writes calls is not supported; use "
            "auto",
            param=CHOICE,
            openai_code=UNSUPPORTED,
        )


def _format_of(body: ChatRequest) -> str:
    return body.response_format.type if body.response_format else "text"


def _must_call(body: ChatRequest) -> bool:
    return body.tool_choice == "required" or isinstance(body.tool_choice, NamedTool)


def _schema_of(body: ChatRequest) -> dict[str, object]:
    """The schema of the response's JSON.

    Raises:
        BadRequest: json_schema without a schema.
    """
    if _format_of(body) == "json_object":
        return {"type": "object"}
    json_schema = body.response_format.json_schema if body.response_format else None
    if json_schema is None:
        raise BadRequest(f"{FORMAT}.json_schema is missing", param=f"{FORMAT}.json_schema")
    return json_schema.schema_


def _callable(body: ChatRequest, tools: RequestTools) -> Sequence[str]:
    """The tools that may be called.

    Raises:
        BadRequest: the request names another one.
    """
    if not isinstance(body.tool_choice, NamedTool):
        return list(tools.parameters)
    name = body.tool_choice.function.name
    if name not in tools.parameters:
        names = ", ".join(tools.parameters)
        raise BadRequest(f"{CHOICE} names the tool {name!r}, but tools has {names}", param=CHOICE)
    return [name]


def _call(compiler: GrammarCompiler, tools: RequestTools, name: str) -> str:
    form = tools.form
    schema = {
        "type": "object",
        "properties": {form.name_key: {"const": name}, form.arguments_key: tools.parameters[name]},
        "required": [form.name_key, form.arguments_key],
        "additionalProperties": False,
    }
    items = [compiler.literal(form.before), json_rule(schema), compiler.literal(form.after)]
    return " ".join(item for item in items if item)


def _start(compiler: GrammarCompiler, chat: ChatTokenizer) -> str:
    """The rules of the start: a thought, where the template has one, before the body."""
    if chat.raw or END_THINK in chat.format.prompt_tail:
        return "start: body\n"
    thought = f"thought: inside /\\n?\\n?/\n{compiler.up_to('inside', END_THINK)}"
    if chat.format.prompt_opens_thought:
        return f"start: thought body\n{thought}"
    if not chat.format.renders_thoughts:
        return "start: body\n"
    return f"start: ({compiler.literal(THINK)} thought)? body\n{thought}"
