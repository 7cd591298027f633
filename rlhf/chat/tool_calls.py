"""Tool calls in the text of a response, in the form in which the model's template writes them."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from rlhf.data.tokenization.template_format import TOOL_ARGUMENTS, TOOL_NAME
from rlhf.data.tokenization.thoughts import END_THINK
from rlhf.data.tokenization.tokenizer import ChatTokenizer

_DECODER = json.JSONDecoder()


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """A call that the model wrote."""

    name: str
    arguments: Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class ToolCallForm:
    """How a template writes a call: `before`, a JSON object with name and arguments, `after`."""

    before: str  # `<tool_call>\n` of Hermes and Qwen, `[TOOL_CALLS][` of Mistral, "" of Llama
    after: str
    name_key: str
    arguments_key: str
    marker: str  # the part of `before` that is in the text of a response; "" if none is


def tool_call_form(chat: ChatTokenizer) -> ToolCallForm | None:
    """The form of the template's calls; None if it renders none, or in another form than JSON.

    It is read off a call that the template rendered.
    """
    if chat.raw or not chat.format.renders_tool_calls:
        return None
    written = chat.format.tool_call.rpartition(END_THINK)[2]
    at = written.find(TOOL_NAME)
    start = written.rfind("{", 0, max(at, 0))
    while start >= 0:
        try:
            call, end = _DECODER.raw_decode(written, start)
        except ValueError:
            start = written.rfind("{", 0, start)
            continue
        keys = {_kind(value): key for key, value in call.items()}
        if not {"name", "arguments"} <= keys.keys():
            return None
        before = written[:start].lstrip()
        return ToolCallForm(
            before=before,
            after=_up_to_control_token(chat, written[end:]),
            name_key=keys["name"],
            arguments_key=keys["arguments"],
            marker=chat.control_tokens.sub("", before).strip().removesuffix("[").strip(),
        )
    return None


def _kind(value: object) -> str:
    if value == TOOL_NAME:
        return "name"
    return "arguments" if value in (TOOL_ARGUMENTS, json.dumps(TOOL_ARGUMENTS)) else ""


def _up_to_control_token(chat: ChatTokenizer, text: str) -> str:
    match = chat.control_tokens.search(text)
    return (text[: match.start()] if match else text).rstrip()


@dataclass(kw_only=True)
class ToolCallReader:
    """Separates content and calls of one response while it is written.

    Args:
        form: how the model's template writes calls.
        names: tools of the request. Where calls have no marker, JSON that calls another name is
            content.
    """

    form: ToolCallForm
    names: Collection[str]
    calls: list[ToolCall] = field(default_factory=list)
    _text: str = ""  # of the response so far
    _emitted: int = 0  # characters of it that were returned as content

    def add(self, text: str, *, last: bool) -> str:
        """The content that the text settles; after the last text, `calls` has the calls."""
        self._text += text
        if not last:
            end = len(self._text[: self._start()].rstrip())
        else:
            start = self._start(last=True)
            self.calls = self._parsed(self._text[start:])
            end = len(self._text[:start].rstrip()) if self.calls else len(self._text)
        content = self._text[self._emitted : end]
        self._emitted = max(self._emitted, end)
        return content

    def _start(self, *, last: bool = False) -> int:
        """Where a call begins, or may begin; the length of the text if nowhere."""
        text, marker = self._text, self.form.marker
        if not marker:
            return 0 if text.lstrip()[:1] in ("{", "[", "") else len(text)
        if marker in text:
            return text.index(marker)
        longest = 0 if last else min(len(marker) - 1, len(text))
        shared = (n for n in range(longest, 0, -1) if marker.startswith(text[-n:]))
        return len(text) - next(shared, 0)

    def _parsed(self, text: str) -> list[ToolCall]:
        """The calls of a text that consists of calls; none if a part of it is something else."""
        calls: list[ToolCall] = []
        # The longest first: a marker may begin with a bracket.
        between = sorted(
            (self.form.marker, self.form.after.strip(), *"[],;"), key=len, reverse=True
        )
        rest = text.strip()
        while rest:
            skipped = next((part for part in between if part and rest.startswith(part)), "")
            if skipped:
                rest = rest.removeprefix(skipped).lstrip()
                continue
            try:
                value, end = _DECODER.raw_decode(rest)
            except ValueError:
                return []
            call = self._call(value)
            if call is None:
                return []
            calls.append(call)
            rest = rest[end:].lstrip()
        return calls

    def _call(self, value: object) -> ToolCall | None:
        if not isinstance(value, dict):
            return None
        name = value.get(self.form.name_key)
        arguments = value.get(self.form.arguments_key)
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments)
            except ValueError:
                return None
        if not isinstance(name, str) or not isinstance(arguments, dict):
            return None
        known = self.form.marker or name in self.names
        return ToolCall(name=name, arguments=arguments) if known else None
