"""POST /v1/chat/completions, /v1/completions, GET /v1/models[/NAME], as OpenAI clients speak them.

https://platform.openai.com/docs/api-reference. Deviations: log-probabilities are the model's at
temperature 1, whatever the tokens are drawn with; a field that is not done here is refused.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from rlhf.chat.engine import LENGTH
from rlhf.chat.loading import ChatModel
from rlhf.chat.scheduler import Failed, Group, Scheduler
from rlhf.chat.web.echo import echo_of
from rlhf.chat.web.errors import Unfit, about
from rlhf.chat.web.form import DONE, Form, sse, usage
from rlhf.chat.web.model_pool import ModelPool
from rlhf.chat.web.request import asked_model, asked_prompt
from rlhf.chat.web.schema import MOST_ANSWERS, ChatRequest, CompletionRequest
from rlhf.chat.web.sse import Part, parts
from rlhf.data.tokenization.chat import decode, prompt_ids
from rlhf.errors import DataError

NOTHING = Part(index=0, text="", tokens=(), finish=LENGTH)  # the answer to max_tokens=0
CLIENT_GONE = 499  # nobody reads it; nginx's number for it in logs


def add_openai(app: FastAPI, served: ModelPool) -> None:
    """The routes of the API."""
    of = {"object": "model", "created": int(time.time()), "owned_by": "rlhf"}

    @app.api_route("/v1/models", methods=["GET", "HEAD"])
    def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": name, **of} for name in served.workers]}

    @app.get("/v1/models/{name:path}")  # a hub id has a slash
    def model(name: str) -> dict[str, Any]:
        served.worker(name)
        return {"id": name, **of}

    @app.post("/v1/chat/completions")
    async def chat(request: Request, body: ChatRequest) -> Response:
        return await chat_answer(request, served, body)

    @app.post("/v1/completions")
    async def complete(request: Request, body: CompletionRequest) -> Response:
        worker = served.worker(body.model)
        with about("prompt"):
            prompts = await run_in_threadpool(_raw_prompts, worker.model, body)
            for prompt in prompts:
                served.check_length(worker.model, len(prompt))
        if len(prompts) * (body.n or 1) > MOST_ANSWERS:
            message = f"more than {MOST_ANSWERS} answers in one request; send several"
            raise Unfit(message, param="n" if len(prompts) == 1 else "prompt")
        if body.max_tokens == 0 and not body.echo:
            raise Unfit("max_tokens=0 needs echo: true", param="max_tokens")
        if body.echo and body.stream:
            raise Unfit("echo is not supported with stream: true; leave one out", param="echo")
        form = Form(
            "text_completion",
            body,
            replace(worker.model.chat, template_source="none"),
            logprobs=body.logprobs is not None,
            tops=body.logprobs or 0,
            echoes=await run_in_threadpool(echoes, worker.model, body, prompts),
        )
        if body.max_tokens == 0:
            choices = [form.choice(n, [NOTHING]) for n in range(len(prompts) * (body.n or 1))]
            return JSONResponse(form.whole(choices, usage(sum(map(len, prompts)), [])))
        return await _answer(request, served, worker, form, prompts, body.max_tokens or 16)

    reading = threading.Lock()  # one prompt at a time: the answers that are written go first

    def echoes(
        model: ChatModel, body: CompletionRequest, prompts: Sequence[list[int]]
    ) -> list[Part]:
        """The prompt of each answer, where it was asked for."""
        if not body.echo:
            return []
        raw = replace(model.chat, template_source="none", eos_token_ids=())
        with reading:
            found = [
                echo_of(
                    model,
                    ids,
                    given if isinstance(given, str) else decode(raw, ids),
                    tops=body.logprobs,
                )
                for given, ids in zip(_listed(body), prompts, strict=True)
            ]
        return [part for part in found for _ in range(body.n or 1)]


async def chat_answer(
    request: Request, served: ModelPool, body: ChatRequest, begun: Sequence[int] = ()
) -> Response:
    """The next turn of a conversation; begun: tokens of it that are written already."""
    worker = served.worker(body.model)
    if body.top_logprobs and not body.logprobs:
        raise Unfit("top_logprobs needs logprobs: true", param="top_logprobs")
    model = await run_in_threadpool(asked_model, worker.model, body.chat_template_kwargs)
    prompt = [*await run_in_threadpool(asked_prompt, model, body), *begun]
    with about("messages"):
        served.check_length(model, len(prompt))
    form = Form(
        "chat.completion",
        body,
        model.chat,
        logprobs=bool(body.logprobs),
        tops=body.top_logprobs or 0,
        begun=begun,
    )
    wanted = body.max_completion_tokens or body.max_tokens
    return await _answer(request, served, worker, form, [prompt], wanted)


def _listed(body: CompletionRequest) -> list[Any]:
    """The prompts of a request, each a text or token ids."""
    given: Any = body.prompt
    return [given] if isinstance(given, str) or isinstance(given[0], int) else given


def _raw_prompts(model: ChatModel, body: CompletionRequest) -> list[list[int]]:
    """Ids of texts that are continued as they are; given ids stay, where the model has them."""
    raw = replace(model.chat, template_source="none")
    rows = int(model.model.config.get_text_config().vocab_size)
    given = _listed(body)
    prompts = [prompt_ids(raw, one) if isinstance(one, str) else list(one) for one in given]
    if any(not ids for ids in prompts):
        raise DataError("a prompt is empty; give a text or token ids")
    if any(max(ids) >= rows for ids in prompts):
        raise DataError(f"a prompt has an id beyond the model's {rows} tokens")
    return prompts


async def _answer(
    request: Request,
    served: ModelPool,
    worker: Scheduler,
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
    said = parts(group, form.chat, body.stops, form.begun)
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
