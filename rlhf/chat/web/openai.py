"""POST /v1/chat/completions, /v1/completions, GET /v1/models[/NAME], as OpenAI clients speak them.

https://platform.openai.com/docs/api-reference. Deviations: log-probabilities are the model's at
temperature 1, whatever the tokens are drawn with; a field that is not done here is refused.
"""

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from rlhf.chat.decoder import Token
from rlhf.chat.engine import encode
from rlhf.chat.loading import ChatModel
from rlhf.chat.web.parts import Part, parts
from rlhf.chat.web.schema import MOST_ANSWERS, ChatRequest, CompletionRequest, Generation
from rlhf.chat.web.served import Served
from rlhf.chat.worker import Failed, Group, Worker
from rlhf.data.chat import decode, prompt_ids
from rlhf.data.tokenizer import ChatTokenizer
from rlhf.errors import DataError

CLIENT_GONE = 499  # nobody reads it; nginx's number for it in logs
DONE = "data: [DONE]\n\n"


def add_openai(app: FastAPI, served: Served) -> None:
    """The routes of the API."""
    of = {"object": "model", "created": int(time.time()), "owned_by": "rlhf"}

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": name, **of} for name in served.workers]}

    @app.get("/v1/models/{name:path}")  # a hub id has a slash
    def model(name: str) -> dict[str, Any]:
        served.worker(name)
        return {"id": name, **of}

    @app.post("/v1/chat/completions")
    async def chat(request: Request, body: ChatRequest) -> Response:
        worker = served.worker(body.model)
        turns = [turn.plain() for turn in body.messages]
        prompt = await run_in_threadpool(encode, worker.model, turns)
        if body.top_logprobs and not body.logprobs:
            raise DataError("top_logprobs needs logprobs: true")
        wanted = body.max_completion_tokens or body.max_tokens
        form = Form("chat.completion", body, worker.model.chat, tops=body.top_logprobs or 0)
        form.with_logprobs = bool(body.logprobs)
        return await _answer(request, served, worker, form, [prompt], wanted)

    @app.post("/v1/completions")
    async def complete(request: Request, body: CompletionRequest) -> Response:
        worker = served.worker(body.model)
        prompts = await run_in_threadpool(_raw_prompts, worker.model, body)
        if len(prompts) * (body.n or 1) > MOST_ANSWERS:
            raise DataError(f"more than {MOST_ANSWERS} answers in one request; send several")
        raw = replace(worker.model.chat, template_source="none")
        form = Form("text_completion", body, raw, tops=body.logprobs or 0)
        form.with_logprobs = body.logprobs is not None
        return await _answer(request, served, worker, form, prompts, body.max_tokens or 16)


def _raw_prompts(model: ChatModel, body: CompletionRequest) -> list[list[int]]:
    """Ids of texts that are continued as they are; given ids stay, where the model has them."""
    given: Any = body.prompt
    listed: list[Any] = [given] if isinstance(given, str) or isinstance(given[0], int) else given
    raw = replace(model.chat, template_source="none")
    rows = int(model.model.config.get_text_config().vocab_size)
    prompts = [prompt_ids(raw, one) if isinstance(one, str) else list(one) for one in listed]
    if any(not ids for ids in prompts):
        raise DataError("a prompt is empty; give a text or token ids")
    if any(max(ids) >= rows for ids in prompts):
        raise DataError(f"a prompt has an id beyond the model's {rows} tokens")
    return prompts


class Form:
    """How one kind of answer is written down."""

    def __init__(self, kind: str, body: Generation, chat: ChatTokenizer, *, tops: int) -> None:
        self.kind, self.body, self.tops, self.chat = kind, body, tops, chat
        self.with_logprobs = False
        # A token in the middle of a text keeps the space before it.
        self._raw = replace(chat, template_source="none")
        prefix = "chatcmpl" if kind == "chat.completion" else "cmpl"
        self._head = {"id": f"{prefix}-{secrets.token_hex(12)}", "created": int(time.time())}
        self._offsets: dict[int, int] = {}

    @property
    def is_chat(self) -> bool:
        """Whether this is a turn of a conversation, or the rest of a text."""
        return self.kind == "chat.completion"

    def whole(self, choices: list[dict[str, Any]], usage: dict[str, int]) -> dict[str, Any]:
        """A finished answer."""
        head = {**self._head, "object": self.kind, "model": self.body.model}
        return {**head, "choices": choices, "usage": usage}

    def choice(self, index: int, said: Sequence[Part]) -> dict[str, Any]:
        """One answer, of all its parts."""
        text = "".join(part.text for part in said)
        tokens = [token for part in said for token in part.tokens]
        finish = said[-1].finish if said else "stop"
        logprobs = self._logprobs(index, tokens)
        ending = {"index": index, "finish_reason": finish, "logprobs": logprobs}
        if self.is_chat:
            message = {"role": "assistant", "content": text, "refusal": None}
            return {"message": message, **ending}
        return {"text": text, **ending}

    def event(self, part: Part) -> str:
        """A part of a streamed answer."""
        logprobs = self._logprobs(part.index, part.tokens)
        choice: dict[str, Any] = {"index": part.index, "finish_reason": part.finish or None}
        choice |= {"logprobs": logprobs}
        if self.is_chat:
            choice["delta"] = {"content": part.text} if part.text or not part.finish else {}
        else:
            choice["text"] = part.text
        return self._event([choice])

    def opening(self, count: int) -> str:
        """Who speaks, before the first part of a chat."""
        delta = {"role": "assistant", "content": ""}
        ending = {"logprobs": None, "finish_reason": None}
        return "".join(self._event([{"index": n, "delta": delta, **ending}]) for n in range(count))

    def closing(self, usage: dict[str, int]) -> str:
        """What a stream ends with: the counts where they were asked for."""
        options = self.body.stream_options
        return (self._event([], usage) if options and options.include_usage else "") + DONE

    def _event(self, choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> str:
        kind = "chat.completion.chunk" if self.is_chat else self.kind
        head = {**self._head, "object": kind, "model": self.body.model, "choices": choices}
        return sse(head | ({"usage": usage} if usage else {}))

    def _logprobs(self, index: int, tokens: Sequence[Token]) -> dict[str, Any] | None:
        if not self.with_logprobs:
            return None
        if self.is_chat:
            return {"content": [self._said(token) for token in tokens], "refusal": None}
        texts = [self._text(token.id) for token in tokens]
        start, offsets = self._offsets.get(index, 0), []
        for text in texts:
            offsets.append(start)
            start += len(text)
        self._offsets[index] = start
        tops = [{self._text(i): value for i, value in token.likeliest} for token in tokens]
        return {
            "tokens": texts,
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": tops if self.tops else None,
            "text_offset": offsets,
        }

    def _said(self, token: Token) -> dict[str, Any]:
        tops = [self._entry(i, value) for i, value in token.likeliest]
        return {**self._entry(token.id, token.logprob), "top_logprobs": tops}

    def _entry(self, token: int, logprob: float) -> dict[str, Any]:
        text = self._text(token)
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

    def _text(self, token: int) -> str:
        """The token alone; the EOS, which may be likely too, by its name."""
        if token in self.chat.eos_token_ids:
            return str(self.chat.tokenizer.convert_ids_to_tokens(token))
        return decode(self._raw, [token])


async def _answer(
    request: Request,
    served: Served,
    worker: Worker,
    form: Form,
    prompts: Sequence[list[int]],
    max_new_tokens: int | None,
) -> Response:
    body = form.body
    questions = served.questions(
        worker,
        prompts,
        num_answers=body.n or 1,
        temperature=1.0 if body.temperature is None else body.temperature,
        top_p=1.0 if body.top_p is None else body.top_p,
        seed=body.seed,
        max_new_tokens=max_new_tokens,
        alternatives=form.tops,
    )
    group = worker.submit(questions)
    said = parts(group, form.chat, body.stops)
    prompt_tokens = sum(map(len, prompts))
    if body.stream:
        return Events(group, _events(said, form, len(questions), prompt_tokens))
    with contextlib.closing(group):
        found = await _unless_gone(request, _all(said))
    if found is None:
        return Response(status_code=CLIENT_GONE)
    of_answer = [[part for part in found if part.index == n] for n in range(len(questions))]
    choices = [form.choice(n, own) for n, own in enumerate(of_answer)]
    return JSONResponse(form.whole(choices, usage(prompt_tokens, found)))


class Events(StreamingResponse):
    """Server-sent events. However it ends, the group's places are free again."""

    def __init__(self, group: Group, content: AsyncIterator[str]) -> None:
        super().__init__(content, media_type="text/event-stream")
        self._group = group

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A client that is gone ends the first of the two; the response alone would write on.
        with contextlib.closing(self._group):
            await _unless_gone(Request(scope, receive), self.stream_response(send))


async def _events(
    said: AsyncIterator[Part], form: Form, count: int, prompt_tokens: int
) -> AsyncIterator[str]:
    found: list[Part] = []
    if form.is_chat:
        yield form.opening(count)
    try:
        async for part in said:
            found.append(part)
            yield form.event(part)
    except Failed as failed:
        yield sse({"error": {"message": str(failed), "type": "server_error"}}) + DONE
        return
    yield form.closing(usage(prompt_tokens, found))


async def _all(said: AsyncIterator[Part]) -> list[Part]:
    return [part async for part in said]


async def _unless_gone(request: Request, work: Any) -> Any:
    """What `work` gives; None where the client closed its connection first."""
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        finished = working.done()
        if not finished:
            working.cancel()
    return await working if finished else None


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def usage(prompt_tokens: int, said: Sequence[Part]) -> dict[str, int]:
    """Counts of tokens; those of the answers without EOS."""
    written = sum(len(part.tokens) for part in said)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": written,
        "total_tokens": prompt_tokens + written,
    }


def sse(content: dict[str, Any]) -> str:
    """One server-sent event. In ASCII: some readers take U+2028 in a text for the line's end."""
    return f"data: {json.dumps(content)}\n\n"
