"""The answers of a battle, side by side, as they are generated."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

from starlette.concurrency import run_in_threadpool

from rlhf.chat.arena.battles import Battle, Battles
from rlhf.chat.arena.config import TEMPERATURE
from rlhf.chat.backend import GenerationFailed, RequestGroup
from rlhf.chat.prompt import encode_prompt
from rlhf.chat.sampling import Sampling
from rlhf.chat.web.model_pool import ModelPool
from rlhf.chat.web.response_writer import DONE
from rlhf.chat.web.sse import ResponseChunk, response_chunks, sse_event
from rlhf.web.markdown import render

T = TypeVar("T")


def submit(pool: ModelPool, battle: Battle) -> None:
    """Start the requests of both models: `battle.groups`, in the order of the sides.

    Raises:
        BadRequest: the question is too long for a model.
        DataError: the question is empty or not UTF-8.
        QueueFull: too many requests wait already.
    """
    groups: list[RequestGroup] = []
    prepared = []
    for name in battle.models:
        backend = pool.backend(name)
        ids = encode_prompt(backend.model, [{"role": "user", "content": battle.question}])
        pool.check_length(backend.model, len(ids))
        requests = pool.requests(
            backend.model,
            [ids],
            num_responses=1,
            sampling=Sampling(temperature=TEMPERATURE),
            seed=None,
            max_new_tokens=None,
            alternatives=0,
            logit_bias={},
            grammar=None,
        )
        prepared.append((backend, requests))
    try:
        for backend, requests in prepared:
            groups.append(backend.submit(requests))
    except BaseException:
        for group in groups:
            group.close()
        raise
    battle.groups = groups


async def answer_events(pool: ModelPool, battles: Battles, battle: Battle) -> AsyncIterator[str]:
    """Server-sent events: the battle's id; each new text with its side; at the end both answers as
    HTML, and the seconds until a vote is possible. Nothing in them tells a model."""
    try:
        yield sse_event({"battle": battle.id})
        chats = [pool.backend(name).model.chat for name in battle.models]
        streams = [
            response_chunks(*both, stop=()) for both in zip(battle.groups, chats, strict=True)
        ]
        async for side, chunk in merged(streams):
            _add_thought(battle, side, chunk)
            if chunk.text:
                battles.show(battle, side, chunk.text)
                yield sse_event({"side": side, "text": chunk.text})
        html = [await run_in_threadpool(render, text) for text in battle.texts]
        seconds = battles.complete(battle)
        yield sse_event({"html": html, "seconds": seconds, "is_empty": battle.is_empty})
    except GenerationFailed:
        # The message could name the model's class.
        yield sse_event({"error": {"message": "a model failed; ask again", "type": "server_error"}})
    yield DONE


def _add_thought(battle: Battle, side: int, chunk: ResponseChunk) -> None:
    battle.thoughts[side] = "" if chunk.retracted else battle.thoughts[side] + chunk.thought
    battle.endings[side] = chunk.finish or battle.endings[side]


async def merged(streams: Sequence[AsyncIterator[T]]) -> AsyncIterator[tuple[int, T]]:
    """(index of the stream, item), as the items come."""
    waiting = {asyncio.ensure_future(anext(one)): index for index, one in enumerate(streams)}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                index = waiting.pop(task)
                try:
                    item = task.result()
                except StopAsyncIteration:
                    continue
                yield index, item
                waiting[asyncio.ensure_future(anext(streams[index]))] = index
    finally:
        for task in waiting:
            task.cancel()
