"""The API through OpenAI's own client, with single and concurrent requests."""

import asyncio
import json
import math
import random
from dataclasses import replace

import httpx
import openai
import pytest
import torch

from rlhf.chat.conversation import Conversation
from rlhf.chat.engine import BatchEngine, GenerationRequest
from rlhf.chat.loading import load_chat_model
from rlhf.chat.sampling import Sampling
from rlhf.chat.web.model_pool import Limits
from rlhf.data.tokenization.chat import decode, prompt_ids
from tests.chat.chat_server import serving
from tests.tiny_models import make_model

MESSAGES = [{"role": "user", "content": "Where is the red ball?"}]
LONG = Limits(slots=8, waiting=4, max_new_tokens=20_000)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    model = load_chat_model(str(make_model(tmp_path_factory.mktemp("models") / "llama")))
    return replace(model, positions=100_000)  # so that a response can continue until it is stopped


@pytest.fixture(scope="module")
def endless(model):
    """The model without EOS ids."""
    return replace(model, chat=replace(model.chat, eos_token_ids=()))


@pytest.fixture(scope="module")
def site(model, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("site"), {"tiny": model}) as site:
        yield site


@pytest.fixture(scope="module")
def client(site):
    return site.client()


def conversation_text(model, sampling: Sampling) -> str:
    """The response of a terminal conversation to the same prompt."""
    talk = Conversation(models=[model], sampling=sampling)
    return "".join(piece.text for piece in talk.send(MESSAGES[0]["content"]))


def test_models_are_listed(client):
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").id == "tiny"
    with pytest.raises(openai.NotFoundError, match="unknown model 'other'"):
        client.models.retrieve("other")


def test_response_equals_conversation_streamed_or_not(client, model):
    """Seed 7 of the API gives the same response as seed 7 of the terminal."""
    sampling = Sampling(temperature=1.0, max_new_tokens=24, seed=7)
    expected = conversation_text(model, sampling)
    options = {"model": "tiny", "messages": MESSAGES, "seed": 7, "max_tokens": 24}
    whole = client.chat.completions.create(**options)
    assert whole.choices[0].message.content == expected
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage.prompt_tokens == len(prompt_ids(model.chat, MESSAGES))
    assert whole.usage.completion_tokens == 24
    events = list(
        client.chat.completions.create(
            **options, stream=True, stream_options={"include_usage": True}
        )
    )
    assert events[0].choices[0].delta.role == "assistant"
    assert "".join(e.choices[0].delta.content or "" for e in events if e.choices) == expected
    assert [e.choices[0].finish_reason for e in events if e.choices][-1] == "length"
    assert events[-1].usage == whole.usage


def test_temperature_and_top_p_are_applied(client, model):
    options = {"model": "tiny", "messages": MESSAGES, "seed": 3, "max_completion_tokens": 16}
    for temperature, top_p in ((0.0, 1.0), (1.5, 1.0), (1.5, 0.3)):
        sampling = Sampling(temperature=temperature, top_p=top_p, max_new_tokens=16, seed=3)
        completion = client.chat.completions.create(**options, temperature=temperature, top_p=top_p)
        assert completion.choices[0].message.content == conversation_text(model, sampling)


def test_n_responses_differ_and_first_equals_single(client):
    options = {"model": "tiny", "messages": MESSAGES, "seed": 1, "max_tokens": 12}
    four = client.chat.completions.create(**options, n=4).choices
    assert [choice.index for choice in four] == [0, 1, 2, 3]
    texts = [choice.message.content for choice in four]
    assert len(set(texts)) == 4
    assert texts[0] == client.chat.completions.create(**options).choices[0].message.content
    streamed = ["", "", "", ""]
    for event in client.chat.completions.create(**options, n=4, stream=True):
        streamed[event.choices[0].index] += event.choices[0].delta.content or ""
    assert streamed == texts


def test_responses_without_seed_differ(client):
    options = {"model": "tiny", "messages": MESSAGES, "max_tokens": 12}
    texts = {client.chat.completions.create(**options).choices[0].message.content for _ in range(3)}
    assert len(texts) == 3


def test_response_ends_before_stop_text(client):
    options = {"model": "tiny", "messages": MESSAGES, "seed": 7, "max_tokens": 24, "logprobs": True}
    whole = client.chat.completions.create(**options).choices[0].message.content
    stop = whole[9:12]
    cut = client.chat.completions.create(**options, stop=[stop, "never"]).choices[0]
    assert cut.message.content == whole[: whole.index(stop)]
    assert cut.finish_reason == "stop"
    joined = "".join(entry.token for entry in cut.logprobs.content)
    assert joined.startswith(cut.message.content)
    streamed = client.chat.completions.create(**options, stop=stop, stream=True)
    pieces = [event.choices[0].delta.content or "" for event in streamed]
    assert "".join(pieces) == cut.message.content


def test_logprobs_equal_those_of_transformers(client, model):
    options = {
        "model": "tiny",
        "messages": MESSAGES,
        "seed": 7,
        "max_tokens": 6,
        "temperature": 2.0,
    }
    choice = client.chat.completions.create(**options, logprobs=True, top_logprobs=3).choices[0]
    prompt = prompt_ids(model.chat, MESSAGES)
    vocabulary = [decode(replace(model.chat, template_source="none"), [i]) for i in range(340)]
    ids = list(prompt)
    for entry in choice.logprobs.content:
        with torch.no_grad():
            logprobs = model.model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        best = [top.logprob for top in entry.top_logprobs]
        assert best == pytest.approx(logprobs.topk(3).values.tolist(), abs=1e-4)
        same = [i for i, text in enumerate(vocabulary) if text == entry.token]
        ids.append(min(same, key=lambda i: abs(float(logprobs[i]) - entry.logprob)))
        assert entry.logprob == pytest.approx(float(logprobs[ids[-1]]), abs=1e-4)
        assert entry.bytes == list(entry.token.encode())


def test_completions_continue_texts_and_ids(client, model):
    options = {"model": "tiny", "max_tokens": 8, "temperature": 0.0}
    one = client.completions.create(**options, prompt="A cat, a", logprobs=2).choices[0]
    raw = replace(model.chat, template_source="none")
    engine, ids = BatchEngine(model, slots=1), []
    sampling = Sampling(temperature=0, max_new_tokens=8)
    engine.add(GenerationRequest(ids=prompt_ids(raw, "A cat, a"), sampling=sampling))
    while generated := engine.step():
        ids.append(generated[0][1].id)
    assert one.text == decode(raw, ids)
    names = [decode(raw, [i]) for i in ids]
    tokens = one.logprobs.tokens
    assert all(a == b or b == "\ufffd" for a, b in zip(tokens, names, strict=True))
    assert sum(a == b for a, b in zip(tokens, names, strict=True)) > 2
    assert [len(top) for top in one.logprobs.top_logprobs][:1] == [2]
    assert one.logprobs.text_offset[:2] == [0, len(names[0])]
    by_ids = client.completions.create(**options, prompt=prompt_ids(raw, "A cat, a"))
    assert by_ids.choices[0].text == one.text
    several = client.completions.create(**options, prompt=["A cat, a", "Where"], n=2)
    assert [choice.index for choice in several.choices] == [0, 1, 2, 3]
    assert several.choices[0].text == several.choices[1].text == one.text
    streamed = client.completions.create(**options, prompt="A cat, a", stream=True)
    assert "".join(event.choices[0].text for event in streamed) == one.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": -1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 65}, "max_tokens=65 is above this server's limit of 64"),
        ({"n": 17}, "n:"),
        ({"n": "two"}, "n:"),
        ({"stop": ""}, "stop"),
        ({"top_logprobs": 3}, "top_logprobs needs logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"frequency_penalty": 0.5}, "frequency_penalty is not supported"),
        ({"tools": [{"type": "function"}]}, "tools is ignored by this model's chat template"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": " "}]}, "the prompt is empty"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
        ({"messages": [{"role": "user", "content": "a \ud800"}]}, "UTF-8"),
        ({"messages": [{"role": "user", "content": "red ball " * 9000}]}, "8192"),
        ({"surprise": 1}, "surprise"),
        ({"messages": [{**MESSAGES[0], "tool_calls": [{"id": "1"}]}]}, "messages[0].tool_calls"),
    ],
)
def test_invalid_request_is_rejected_with_its_reason(site, changes, message):
    body = {"model": "tiny", "messages": MESSAGES, **changes}
    reply = httpx.post(
        f"{site.address}/v1/chat/completions",
        content=json.dumps(body),
        headers={"content-type": "application/json"},
        timeout=240,
    )
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert message in error["message"]
    assert error["type"] == "invalid_request_error"


def test_response_can_be_sent_back_unchanged(client):
    """`messages.append(completion.choices[0].message)`, as in OpenAI's guide."""
    options = {"model": "tiny", "temperature": 0, "max_tokens": 4}
    message = client.chat.completions.create(messages=MESSAGES, **options).choices[0].message
    again = {"role": "user", "content": "And a dog?"}
    sent_back = client.chat.completions.create(messages=[*MESSAGES, message, again], **options)
    plain = {"role": "assistant", "content": message.content}
    expected = client.chat.completions.create(messages=[*MESSAGES, plain, again], **options)
    assert sent_back.choices[0].message.content == expected.choices[0].message.content
    assert sent_back.usage.prompt_tokens == expected.usage.prompt_tokens
    full = {**plain, "refusal": None, "annotations": [], "audio": None, "tool_calls": None}
    with_empty_fields = client.chat.completions.create(messages=[*MESSAGES, full, again], **options)
    assert with_empty_fields.usage.prompt_tokens == expected.usage.prompt_tokens


def test_neutral_fields_are_accepted(client):
    completion = client.chat.completions.create(
        model="tiny",
        messages=[
            {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
            *MESSAGES,
        ],
        max_tokens=2,
        frequency_penalty=0,
        logit_bias={},
        response_format={"type": "text"},
        user="ann",
    )
    assert completion.usage.completion_tokens <= 2


def test_unknown_model_and_token_ids_are_rejected(client):
    with pytest.raises(openai.NotFoundError, match="unknown model 'other'; this server has tiny"):
        client.chat.completions.create(model="other", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError, match="beyond the model's 340 tokens"):
        client.completions.create(model="tiny", prompt=[3, 340])
    with pytest.raises(openai.BadRequestError, match="prompt"):
        client.completions.create(model="tiny", prompt=[])


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
                    assert site.pool.schedulers["tiny"].load() == (3, 0)
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
        with pytest.raises(openai.RateLimitError, match="1 responses running, 1 waiting"):
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
