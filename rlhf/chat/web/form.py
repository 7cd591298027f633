"""How answers are written down: whole, and as the events of a stream."""

import json
import secrets
import time
from collections.abc import Sequence
from typing import Any

from rlhf.chat.web.logprobs import Spelling, chat_logprobs, text_logprobs, with_echo
from rlhf.chat.web.schema import Generation
from rlhf.chat.web.sse import Part
from rlhf.data.tokenization.tokenizer import ChatTokenizer

DONE = "data: [DONE]\n\n"


class Form:
    """How one kind of answer is written down."""

    def __init__(
        self,
        kind: str,
        body: Generation,
        chat: ChatTokenizer,
        *,
        logprobs: bool,
        tops: int,
        echoes: Sequence[Part] = (),
        begun: Sequence[int] = (),
    ) -> None:
        """tops: how many of the likeliest tokens stand next to each one, with `logprobs`.

        echoes: what stands before each answer, if anything. begun: tokens that an answer begins
        with and that are no part of it.
        """
        self.kind, self.body, self.chat, self.tops = kind, body, chat, tops
        self.begun = begun
        self._spelling = Spelling(chat, partial="" if self.is_chat else "bytes:")
        self._with_logprobs = logprobs
        prefix = "chatcmpl" if self.is_chat else "cmpl"
        self._head = {"id": f"{prefix}-{secrets.token_hex(12)}", "created": int(time.time())}
        self._echoes = echoes
        self._lengths: dict[int, int] = {}  # of each streamed answer's text so far

    @property
    def is_chat(self) -> bool:
        """Whether this is a turn of a conversation, or the rest of a text."""
        return self.kind == "chat.completion"

    def whole(self, choices: list[dict[str, Any]], usage: dict[str, Any]) -> dict[str, Any]:
        """A finished answer."""
        head = {**self._head, "object": self.kind, "model": self.body.model}
        return {**head, "choices": choices, "usage": usage}

    def choice(self, index: int, said: Sequence[Part]) -> dict[str, Any]:
        """One answer, of all its parts."""
        said = [self._echoes[index], *said] if self._echoes else said
        text = "".join(part.text for part in said)
        finish = said[-1].finish if said else "stop"
        ending = {"index": index, "finish_reason": finish, "logprobs": self._logprobs(0, said)}
        if self.is_chat:
            retracted = any(part.retracted for part in said)
            thought = "" if retracted else "".join(part.thought for part in said)
            message = {"role": "assistant", "content": text, "refusal": None}
            return {"message": {**message, "reasoning_content": thought or None}, **ending}
        return {"text": text, **ending}

    def event(self, part: Part) -> str:
        """A part of a streamed answer."""
        start = self._lengths.get(part.index, 0)
        self._lengths[part.index] = start + len(part.text)
        choice: dict[str, Any] = {"index": part.index, "finish_reason": part.finish or None}
        ends = not part.tokens and not part.before and not part.end
        choice |= {"logprobs": None if ends else self._logprobs(start, [part])}
        if self.is_chat:
            choice["delta"] = _delta(part)
        else:
            choice["text"] = part.text
        return self._event([choice])

    def opening(self, count: int) -> str:
        """Who speaks, before the first part of a chat."""
        delta = {"role": "assistant", "content": ""}
        ending = {"logprobs": None, "finish_reason": None}
        return "".join(self._event([{"index": n, "delta": delta, **ending}]) for n in range(count))

    def closing(self, usage: dict[str, Any]) -> str:
        """What a stream ends with: the counts where they were asked for."""
        return (self._event([], usage) if self._counts else "") + DONE

    @property
    def _counts(self) -> bool:
        options = self.body.stream_options
        return options is not None and bool(options.include_usage)

    def _event(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> str:
        kind = "chat.completion.chunk" if self.is_chat else self.kind
        head = {**self._head, "object": kind, "model": self.body.model, "choices": choices}
        return sse(head | ({"usage": usage} if self._counts else {}))

    def _logprobs(self, start: int, said: Sequence[Part]) -> dict[str, Any] | None:
        if not self._with_logprobs:
            return None
        if self.is_chat:
            return chat_logprobs(self._spelling, said)
        found = text_logprobs(self._spelling, said, start=start, tops=self.tops)
        return with_echo(found) if self._echoes else found


def usage(prompt_tokens: int, said: Sequence[Part]) -> dict[str, Any]:
    """Counts of tokens; those of the answers without EOS."""
    written = sum(len(part.before) + len(part.tokens) for part in said)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": written,
        "total_tokens": prompt_tokens + written,
        "completion_tokens_details": {"reasoning_tokens": _thought_tokens(said)},
    }


def _thought_tokens(said: Sequence[Part]) -> int:
    """Tokens of thoughts with those around them; an empty thought is none."""
    thoughtful = {part.index for part in said if part.thought}
    thoughtful -= {part.index for part in said if part.retracted}
    return sum(len(part.before) for part in said if part.index in thoughtful)


def _delta(part: Part) -> dict[str, str]:
    """What is new of a message. The thought precedes the content."""
    new = {"reasoning_content": part.thought, "content": part.text}
    return {name: text for name, text in new.items() if text}


def sse(content: dict[str, Any]) -> str:
    """One server-sent event. In ASCII: some readers take U+2028 in a text for the line's end."""
    return f"data: {json.dumps(content)}\n\n"
