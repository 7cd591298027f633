"""Tokens of a request -> chunks of its responses, and server-sent events."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from rlhf.chat.backend import RequestGroup
from rlhf.chat.detokenizer import Detokenizer
from rlhf.chat.engine import STOP, GeneratedToken
from rlhf.data.tokenization.tokenizer import ChatTokenizer


@dataclass(frozen=True, kw_only=True)
class ResponseChunk:
    """A new part of one response."""

    index: int  # of the response
    text: str
    tokens: Sequence[GeneratedToken]  # of that text; without the EOS and what a stop text cut off
    finish: str  # "" while the response continues
    end: GeneratedToken | None = None  # the EOS, if one ended the response
    thought: str = ""  # precedes the text
    before: Sequence[GeneratedToken] = ()  # of the thought, and of tags and headers around it
    retracted: bool = False  # whether what was sent as a thought is the text after all


class _ChunkBuilder:
    """Collects the tokens of one response until their text is settled."""

    def __init__(self, chat: ChatTokenizer, stop: Sequence[str], prefix_ids: Sequence[int]) -> None:
        self._chat, self._detokenizer = chat, Detokenizer(chat, stop, prefix_ids=prefix_ids)
        # Each pending token with its offset in thought and text.
        self._pending: list[tuple[GeneratedToken, int]] = []
        self._num_before = 0  # how many pending tokens precede the response
        form = None if chat.raw else chat.format
        self._thinks = bool(form and (form.renders_thoughts or form.prompt_opens_thought))

    def add(self, index: int, token: GeneratedToken) -> ResponseChunk | None:
        """The chunk that the token completes; None if it has to wait for the next one."""
        detokenizer = self._detokenizer
        if token.id not in self._chat.eos_token_ids:
            self._pending.append((token, detokenizer.length))
        delta = detokenizer.add(token.id, last=bool(token.finish))
        finish = STOP if detokenizer.stopped else token.finish
        if not detokenizer.in_response:
            self._num_before = len(self._pending)
        emitted = len(detokenizer.thought) + len(detokenizer.text)
        if detokenizer.stopped:
            self._pending = [(one, offset) for one, offset in self._pending if offset < emitted]
        elif not finish and (emitted < detokenizer.length or (self._thinks and not emitted)):
            return None
        before, tokens = self._take_pending()
        ended = token.id in self._chat.eos_token_ids and not detokenizer.stopped
        return ResponseChunk(
            index=index,
            text=delta.text,
            tokens=tokens,
            finish=finish,
            end=token if ended else None,
            thought=delta.thought,
            before=before,
            retracted=detokenizer.retracted,
        )

    def _take_pending(self) -> tuple[list[GeneratedToken], list[GeneratedToken]]:
        """The pending tokens; those before the response apart if it may have a thought."""
        tokens = [token for token, _ in self._pending]
        first = self._num_before if self._thinks or self._detokenizer.thought else 0
        self._pending, self._num_before = [], 0
        return tokens[:first], tokens[first:]


async def response_chunks(
    group: RequestGroup, chat: ChatTokenizer, stop: Sequence[str], prefix_ids: Sequence[int] = ()
) -> AsyncIterator[ResponseChunk]:
    """The responses of a group as they are generated, cut at the stop texts.

    Args:
        group: the running requests; its exceptions pass through.
        chat: tokenizer and chat template of the model.
        stop: texts that end a response.
        prefix_ids: tokens that each response begins with; they are not part of any chunk.
    """
    builders = [_ChunkBuilder(chat, stop, prefix_ids) for _ in group.requests]
    async for index, token in group:
        chunk = builders[index].add(index, token)
        if chunk is None:
            continue
        if chunk.finish and not token.finish:
            group.drop(index)
        yield chunk


def sse_event(content: Mapping[str, object]) -> str:
    """One server-sent event. It is ASCII: some clients take U+2028 in a text for a line's end."""
    return f"data: {json.dumps(content)}\n\n"
