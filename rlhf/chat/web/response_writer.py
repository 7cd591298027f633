"""Responses in OpenAI's format: complete, and as the events of a stream."""

import json
import secrets
import time
from collections.abc import Sequence

from rlhf.chat.engine import STOP
from rlhf.chat.tool_calls import ToolCall, ToolCallReader
from rlhf.chat.web.logprobs import TextLogprobs, TokenBytes, chat_logprobs, text_logprobs, with_echo
from rlhf.chat.web.schema import GenerationBody
from rlhf.chat.web.sse import ResponseChunk, sse_event
from rlhf.chat.web.structured import RequestTools
from rlhf.data.tokenization.tokenizer import ChatTokenizer

Fields = dict[str, object]  # of a JSON object in a response

DONE = "data: [DONE]\n\n"


class ResponseWriter:
    """Writes the responses to one HTTP request.

    Args:
        kind: `chat.completion` or `text_completion`.
        body: the request.
        chat: tokenizer and chat template of the model.
        logprobs: whether to write log-probabilities.
        top_logprobs: how many of the likeliest tokens to write with each token.
        echoes: the chunk that precedes each response, if any.
        prefix_ids: tokens that a response begins with and that are not written.
        tools: the tools that a response may call; None leaves calls in its text.
    """

    def __init__(
        self,
        kind: str,
        body: GenerationBody,
        chat: ChatTokenizer,
        *,
        logprobs: bool,
        top_logprobs: int,
        echoes: Sequence[ResponseChunk] = (),
        prefix_ids: Sequence[int] = (),
        tools: RequestTools | None = None,
    ) -> None:
        self.kind, self.body, self.chat, self.top_logprobs = kind, body, chat, top_logprobs
        self.prefix_ids = prefix_ids
        self._token_bytes = TokenBytes(chat, partial="" if self.is_chat else "bytes:")
        self._with_logprobs = logprobs
        id_prefix = "chatcmpl" if self.is_chat else "cmpl"
        self._head = {"id": f"{id_prefix}-{secrets.token_hex(12)}", "created": int(time.time())}
        self._echoes = echoes
        self._lengths: dict[int, int] = {}  # of the text of each streamed response so far
        self._tools = tools
        self._readers: dict[int, ToolCallReader] = {}  # of streamed responses

    @property
    def is_chat(self) -> bool:
        """Whether this is a chat completion or a text completion."""
        return self.kind == "chat.completion"

    def completion(self, choices: Sequence[Fields], usage: Fields) -> Fields:
        """The complete body."""
        head = {**self._head, "object": self.kind, "model": self.body.model}
        return {**head, "choices": choices, "usage": usage}

    def choice(self, index: int, chunks: Sequence[ResponseChunk]) -> Fields:
        """One response, from all its chunks."""
        chunks = [self._echoes[index], *chunks] if self._echoes else chunks
        text = "".join(chunk.text for chunk in chunks)
        finish = chunks[-1].finish if chunks else "stop"
        common = {"index": index, "finish_reason": finish, "logprobs": self._logprobs(0, chunks)}
        if self.is_chat:
            retracted = any(chunk.retracted for chunk in chunks)
            thought = "" if retracted else "".join(chunk.thought for chunk in chunks)
            message: Fields = {"role": "assistant", "content": text, "refusal": None}
            message["reasoning_content"] = thought or None
            reader = _reader(self._tools) if self._tools else None
            content = reader.add(text, last=True) if reader else text
            if reader and reader.calls:
                message["content"] = content or None
                message["tool_calls"] = [_call_fields(call) for call in reader.calls]
                common["finish_reason"] = _finish(finish, reader)
            return {"message": message, **common}
        return {"text": text, **common}

    def event(self, chunk: ResponseChunk) -> str:
        """The event of one chunk."""
        start = self._lengths.get(chunk.index, 0)
        self._lengths[chunk.index] = start + len(chunk.text)
        choice: Fields = {"index": chunk.index, "finish_reason": chunk.finish or None}
        empty = not chunk.tokens and not chunk.before and not chunk.end
        choice |= {"logprobs": None if empty else self._logprobs(start, [chunk])}
        if self.is_chat and self._tools:
            reader = self._readers.setdefault(chunk.index, _reader(self._tools))
            delta = _delta(chunk, reader.add(chunk.text, last=bool(chunk.finish)))
            if reader.calls:
                calls = enumerate(reader.calls)
                delta["tool_calls"] = [{"index": n, **_call_fields(call)} for n, call in calls]
                choice["finish_reason"] = _finish(chunk.finish, reader)
            choice["delta"] = delta
        elif self.is_chat:
            choice["delta"] = _delta(chunk, chunk.text)
        else:
            choice["text"] = chunk.text
        return self._event([choice])

    def opening(self, count: int) -> str:
        """The events with the role, before the first chunk of a chat completion."""
        delta = {"role": "assistant", "content": ""}
        common = {"logprobs": None, "finish_reason": None}
        return "".join(self._event([{"index": n, "delta": delta, **common}]) for n in range(count))

    def closing(self, usage: Fields) -> str:
        """The end of a stream: the token counts if they were requested, then the end marker."""
        return (self._event([], usage) if self._include_usage else "") + DONE

    @property
    def _include_usage(self) -> bool:
        options = self.body.stream_options
        return options is not None and bool(options.include_usage)

    def _event(self, choices: Sequence[Fields], usage: Fields | None = None) -> str:
        kind = "chat.completion.chunk" if self.is_chat else self.kind
        head = {**self._head, "object": kind, "model": self.body.model, "choices": choices}
        return sse_event(head | ({"usage": usage} if self._include_usage else {}))

    def _logprobs(
        self, start: int, chunks: Sequence[ResponseChunk]
    ) -> Fields | TextLogprobs | None:
        if not self._with_logprobs:
            return None
        if self.is_chat:
            return chat_logprobs(self._token_bytes, chunks)
        logprobs = text_logprobs(
            self._token_bytes, chunks, start=start, top_logprobs=self.top_logprobs
        )
        return with_echo(logprobs) if self._echoes else logprobs


def usage(prompt_tokens: int, chunks: Sequence[ResponseChunk]) -> Fields:
    """Token counts; those of the responses without EOS."""
    generated = sum(len(chunk.before) + len(chunk.tokens) for chunk in chunks)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": generated,
        "total_tokens": prompt_tokens + generated,
        "completion_tokens_details": {"reasoning_tokens": _thought_tokens(chunks)},
    }


def _thought_tokens(chunks: Sequence[ResponseChunk]) -> int:
    """Tokens of thoughts and of the tags around them; an empty thought counts as none."""
    with_thought = {chunk.index for chunk in chunks if chunk.thought}
    with_thought -= {chunk.index for chunk in chunks if chunk.retracted}
    return sum(len(chunk.before) for chunk in chunks if chunk.index in with_thought)


def _delta(chunk: ResponseChunk, content: str) -> Fields:
    """The new fields of a message. The thought precedes the content."""
    fields = {"reasoning_content": chunk.thought, "content": content}
    return {name: text for name, text in fields.items() if text}


def _reader(tools: RequestTools) -> ToolCallReader:
    """A reader of the calls of one response."""
    return ToolCallReader(form=tools.form, names=tools.parameters)


def _call_fields(call: ToolCall) -> Fields:
    """A tool call in OpenAI's format, whose arguments are JSON text."""
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    function = {"name": call.name, "arguments": arguments}
    return {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": function}


def _finish(finish: str, reader: ToolCallReader) -> str:
    """The reason why a response with calls ended."""
    return "tool_calls" if finish == STOP and reader.calls else finish
