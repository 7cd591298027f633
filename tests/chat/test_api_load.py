"""Concurrent requests, clients that disconnect, a full queue, errors of the model."""

import asyncio
import math
import random
from dataclasses import replace

import httpx
import openai
import pytest

from rlhf.chat.sampling import Sampling
from rlhf.chat.web.limits import Limits
from tests.chat.chat_server import MESSAGES, conversation_text, serving

LONG = Limits(slots=8, waiting=4, max_new_tokens=20_000)


def test_concurrent_responses_equal_single_ones(site, model):
    """32 streams at once, and every third client disconnects: no other text changes, and the slots
    of the disconnected clients are freed."""
    alone = [
        conversation_text(model, Sampling(temperature=1.0, max_new_tokens=40, seed=n))
        for n in range(32)
    ]

    async def stream_text(client: openai.AsyncOpenAI, number: int) -> str | None:
        disconnects_after = random.Random(number).randrange(1, 10) if number % 3 == 0 else math.inf
        text = ""
        async with await client.chat.completions.create(
            model="tiny", messages=MESSAGES, seed=number, max_tokens=40, stream=True
        ) as events:
            num_events = 0
            async for event in events:
                text += event.choices[0].delta.content or ""
                num_events += 1
                if num_events > disconnects_after:
                    return None
        return text

    async def all_texts() -> list[str | None]:
        async with openai.AsyncOpenAI(
            base_url=f"{site.address}/v1", api_key="any", max_retries=0, timeout=240
        ) as client:
            return await asyncio.gather(*(stream_text(client, number) for number in range(32)))

    texts = asyncio.run(all_texts())
    assert sum(text is None for text in texts) > 5  # others end before their client disconnects
    for number, text in enumerate(texts):
        assert text is None or text == alone[number]
    assert site.settle() == (0, 0)


@pytest.mark.parametrize("stream", [True, False])
def test_disconnected_client_frees_its_slots(endless, tmp_path, stream):
    with serving(tmp_path, {"tiny": endless}, limits=LONG) as site:
        body = {
            "model": "tiny",
            "messages": MESSAGES,
            "max_tokens": 20_000,
            "stream": stream,
            "n": 3,
        }
        address = f"{site.address}/v1/chat/completions"
        patience = httpx.Timeout(240, read=240 if stream else 2)
        with httpx.Client(timeout=patience) as http:
            try:
                with http.stream("POST", address, json=body) as reply:
                    events = reply.iter_lines()
                    for _ in range(20):  # opening events of the three, then tokens
                        next(events)
                    assert site.pool.backends["tiny"].load() == (3, 0)
            except httpx.ReadTimeout:
                assert not stream  # there is no response yet, and the client stops waiting
        assert site.settle() == (0, 0)


def test_full_queue_returns_429_until_a_slot_is_free(endless, tmp_path):
    limits = replace(LONG, slots=1, waiting=1)
    with serving(tmp_path, {"tiny": endless}, limits=limits) as site:
        client = site.client()
        options = {"model": "tiny", "messages": MESSAGES, "max_tokens": 20_000}
        first = client.chat.completions.create(**options, stream=True)
        events = [next(first), next(first)]  # the role, and a token
        assert len(events) == 2
        second = client.chat.completions.create(**options, stream=True)
        with pytest.raises(openai.RateLimitError, match="1 response running, 1 waiting"):
            client.chat.completions.create(**options)
        rejected = httpx.post(
            f"{site.address}/v1/chat/completions", json={"model": "tiny", "messages": MESSAGES}
        )
        assert rejected.headers["retry-after"] == "1"
        first.close()
        events = [next(second), next(second)]  # it has got the slot
        assert len(events) == 2
        second.close()
        assert site.settle() == (0, 0)
        completion = client.chat.completions.create(**{**options, "max_tokens": 2})
        assert completion.usage.completion_tokens <= 2


def test_model_error_is_returned_and_next_request_is_served(model, tmp_path):
    """A module of the model raises once, in the middle of a response."""
    calls = 0

    def fail_once(module, inputs):
        nonlocal calls
        calls += 1
        if calls == 5:
            raise RuntimeError("out of memory")

    hook = model.model.model.norm.register_forward_pre_hook(fail_once)
    try:
        with serving(tmp_path, {"tiny": model}) as site:
            client = site.client()
            options = {"model": "tiny", "messages": MESSAGES, "max_tokens": 12, "seed": 7}
            with pytest.raises(openai.InternalServerError, match="out of memory"):
                client.chat.completions.create(**options)
            calls = 1
            with pytest.raises(openai.APIError, match="out of memory"):
                list(client.chat.completions.create(**options, stream=True))
            assert client.chat.completions.create(**options).usage.completion_tokens > 0
            assert site.settle() == (0, 0)
    finally:
        hook.remove()
