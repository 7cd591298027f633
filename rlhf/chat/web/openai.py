"""POST /v1/chat/completions, /v1/completions, GET /v1/models[/NAME], compatible with OpenAI's API.

https://platform.openai.com/docs/api-reference. Deviations: log-probabilities are the model's at
temperature 1, whatever the sampling, the penalties and the grammar; a field that is not supported
is rejected.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import replace
from typing import TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from rlhf.chat.backend import Backend, GenerationFailed, RequestGroup
from rlhf.chat.engine import LENGTH
from rlhf.chat.grammar import Grammar
from rlhf.chat.policy_info import PolicyInfo
from rlhf.chat.sampling import Sampling
from rlhf.chat.web.chat_prompt import chat_prompt_ids, with_template_kwargs
from rlhf.chat.web.echo import echo_chunk
from rlhf.chat.web.errors import BadRequest, error_param
from rlhf.chat.web.model_pool import ModelPool
from rlhf.chat.web.raw_prompts import prompt_list, raw_prompt_ids
from rlhf.chat.web.response_writer import DONE, ResponseWriter, usage
from rlhf.chat.web.schema import (
    MAX_RESPONSES,
    ChatRequest,
    CompletionRequest,
    GenerationBody,
)
from rlhf.chat.web.sse import ResponseChunk, response_chunks, sse_event
from rlhf.chat.web.structured import grammar_field, request_tools, response_grammar
from rlhf.data.tokenization.chat import decode

T = TypeVar("T")

EMPTY = ResponseChunk(index=0, text="", tokens=(), finish=LENGTH)  # for max_tokens=0
CLIENT_GONE = 499  # nginx's status for a closed connection; it appears in logs only
DEFAULT_MAX_TOKENS = 16  # of a text completion, as in OpenAI's API


def add_openai(app: FastAPI, pool: ModelPool) -> None:
    """Add the routes of the API."""
    common = {"object": "model", "created": int(time.time()), "owned_by": "rlhf"}
    echo_lock = threading.Lock()  # one prompt at a time: running responses take precedence

    @app.api_route("/v1/models", methods=["GET", "HEAD"])
    def models() -> dict[str, object]:
        return {"object": "list", "data": [{"id": name, **common} for name in pool.backends]}

    @app.get("/v1/models/{name:path}")  # a hub id has a slash
    def model(name: str) -> dict[str, object]:
        pool.backend(name)
        return {"id": name, **common}

    @app.post("/v1/chat/completions")
    async def chat(request: Request, body: ChatRequest) -> Response:
        return await chat_completion(request, pool, body)

    @app.post("/v1/completions")
    async def complete(request: Request, body: CompletionRequest) -> Response:
        return await text_completion(request, pool, body, echo_lock)


async def chat_completion(
    request: Request, pool: ModelPool, body: ChatRequest, prefix_ids: Sequence[int] = ()
) -> Response:
    """The next message of a conversation; it continues the tokens `prefix_ids`."""
    backend = pool.backend(body.model)
    if body.top_logprobs and not body.logprobs:
        raise BadRequest("top_logprobs needs logprobs: true", param="top_logprobs")
    model = await run_in_threadpool(with_template_kwargs, backend.model, body.chat_template_kwargs)
    prompt = [*await run_in_threadpool(chat_prompt_ids, model, body), *prefix_ids]
    with error_param("messages"):
        pool.check_length(model, len(prompt))
    tools = await run_in_threadpool(request_tools, model.chat, body)
    grammar = None
    if field := grammar_field(body):
        with error_param(field):
            compiler = await run_in_threadpool(pool.compiler, backend)
            grammar = await run_in_threadpool(response_grammar, compiler, model.chat, body, tools)
    writer = ResponseWriter(
        "chat.completion",
        body,
        model.chat,
        logprobs=bool(body.logprobs),
        top_logprobs=body.top_logprobs or 0,
        prefix_ids=prefix_ids,
        tools=tools,
    )
    max_new_tokens = body.max_completion_tokens or body.max_tokens
    return await _respond(request, pool, backend, writer, [prompt], max_new_tokens, grammar=grammar)


async def text_completion(
    request: Request, pool: ModelPool, body: CompletionRequest, echo_lock: threading.Lock
) -> Response:
    """Raw continuations of texts or token ids."""
    backend = pool.backend(body.model)
    model = backend.model
    with error_param("prompt"):
        prompts = await run_in_threadpool(raw_prompt_ids, model, body.prompt)
        for prompt in prompts:
            pool.check_length(model, len(prompt))
    num_responses = len(prompts) * (body.n or 1)
    _check_completion(body, len(prompts), num_responses)
    writer = ResponseWriter(
        "text_completion",
        body,
        replace(model.chat, template_source="none"),
        logprobs=body.logprobs is not None,
        top_logprobs=body.logprobs or 0,
        echoes=await run_in_threadpool(_echoes, backend, body, prompts, echo_lock),
    )
    if body.max_tokens == 0:
        choices = [writer.choice(index, [EMPTY]) for index in range(num_responses)]
        return JSONResponse(writer.completion(choices, usage(sum(map(len, prompts)), [])))
    max_new_tokens = body.max_tokens or DEFAULT_MAX_TOKENS
    return await _respond(request, pool, backend, writer, prompts, max_new_tokens)


def _check_completion(body: CompletionRequest, num_prompts: int, num_responses: int) -> None:
    if num_responses > MAX_RESPONSES:
        raise BadRequest(
            f"more than {MAX_RESPONSES} responses in one request; send several requests",
            param="n" if num_prompts == 1 else "prompt",
        )
    if body.max_tokens == 0 and not body.echo:
        raise BadRequest("max_tokens=0 needs echo: true", param="max_tokens")
    if body.echo and body.stream:
        raise BadRequest("echo is not supported with stream: true; leave one out", param="echo")


def _echoes(
    backend: Backend,
    body: CompletionRequest,
    prompts: Sequence[list[int]],
    echo_lock: threading.Lock,
) -> list[ResponseChunk]:
    """The prompt of each response as a chunk, if `echo` is set."""
    if not body.echo:
        return []
    raw = replace(backend.model.chat, template_source="none", eos_token_ids=())
    with echo_lock:
        chunks = [
            echo_chunk(
                backend,
                ids,
                prompt if isinstance(prompt, str) else decode(raw, ids),
                top_logprobs=body.logprobs,
            )
            for prompt, ids in zip(prompt_list(body.prompt), prompts, strict=True)
        ]
    return [chunk for chunk in chunks for _ in range(body.n or 1)]


def _sampling(body: GenerationBody) -> Sampling:
    """The request's sampling. The pool sets seed and length."""
    return Sampling(
        temperature=1.0 if body.temperature is None else body.temperature,
        top_p=1.0 if body.top_p is None else body.top_p,
        top_k=max(body.top_k or 0, 0),
        min_p=body.min_p or 0.0,
        frequency_penalty=body.frequency_penalty or 0.0,
        presence_penalty=body.presence_penalty or 0.0,
        repetition_penalty=body.repetition_penalty or 1.0,
    )


def _logit_bias(model: PolicyInfo, body: GenerationBody) -> dict[int, float]:
    """The request's biases by token id.

    Raises:
        BadRequest: a key that is no id of the model.
    """
    size = model.vocab_size
    for key in body.logit_bias or {}:
        if not key.isdecimal() or not key.isascii() or int(key) >= size:
            raise BadRequest(
                f"logit_bias: {key[:20]!r} is no token id below {size}", param="logit_bias"
            )
    return {int(key): value for key, value in (body.logit_bias or {}).items()}


async def _respond(
    request: Request,
    pool: ModelPool,
    backend: Backend,
    writer: ResponseWriter,
    prompts: Sequence[list[int]],
    max_new_tokens: int | None,
    *,
    grammar: Grammar | None = None,
) -> Response:
    body = writer.body
    requests = pool.requests(
        backend.model,
        prompts,
        num_responses=body.n or 1,
        sampling=_sampling(body),
        seed=body.seed,
        max_new_tokens=max_new_tokens,
        alternatives=writer.top_logprobs,
        logit_bias=_logit_bias(backend.model, body),
        grammar=grammar,
    )
    group = backend.submit(requests)
    stream = response_chunks(group, writer.chat, body.stop_texts, writer.prefix_ids)
    prompt_tokens = sum(map(len, prompts))
    if body.stream:
        return EventStream([group], _events(stream, writer, len(requests), prompt_tokens))
    with contextlib.closing(group):
        chunks = await unless_disconnected(request, _collect(stream))
    if chunks is None:
        return Response(status_code=CLIENT_GONE)
    by_response = [[one for one in chunks if one.index == n] for n in range(len(requests))]
    choices = [writer.choice(index, own) for index, own in enumerate(by_response)]
    return JSONResponse(writer.completion(choices, usage(prompt_tokens, chunks)))


class EventStream(StreamingResponse):
    """Server-sent events. However the stream ends, the slots of its groups are freed."""

    def __init__(self, groups: Sequence[RequestGroup], content: AsyncIterator[str]) -> None:
        super().__init__(content, media_type="text/event-stream")
        self._groups = groups

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # StreamingResponse alone would keep generating after the client has disconnected.
        with contextlib.ExitStack() as stack:
            for group in self._groups:
                stack.enter_context(contextlib.closing(group))
            await unless_disconnected(Request(scope, receive), self.stream_response(send))


async def _events(
    stream: AsyncIterator[ResponseChunk], writer: ResponseWriter, count: int, prompt_tokens: int
) -> AsyncIterator[str]:
    chunks: list[ResponseChunk] = []
    if writer.is_chat:
        yield writer.opening(count)
    try:
        async for chunk in stream:
            chunks.append(chunk)
            yield writer.event(chunk)
    except GenerationFailed as failed:
        yield sse_event({"error": {"message": str(failed), "type": "server_error"}}) + DONE
        return
    yield writer.closing(usage(prompt_tokens, chunks))


async def _collect(stream: AsyncIterator[ResponseChunk]) -> list[ResponseChunk]:
    return [chunk async for chunk in stream]


async def unless_disconnected(request: Request, work: Awaitable[T]) -> T | None:
    """The result of `work`; None if the client closed its connection first."""
    working = asyncio.ensure_future(work)
    disconnected = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({working, disconnected}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        disconnected.cancel()
        finished = working.done()
        if not finished:
            working.cancel()
    return await working if finished else None


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
