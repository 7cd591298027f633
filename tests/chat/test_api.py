"""The API as OpenAI's own client speaks it, alone and with many at once."""

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

ASKED = [{"role": "user", "content": "Where is the red ball?"}]
LONG = Limits(slots=8, waiting=4, max_new_tokens=20_000)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    model = load_chat_model(str(make_model(tmp_path_factory.mktemp("models") / "llama")))
    return replace(model, positions=100_000)  # so that an answer can go on until it is stopped


@pytest.fixture(scope="module")
def endless(model):
    """The model with nothing to stop at."""
    return replace(model, chat=replace(model.chat, eos_token_ids=()))


@pytest.fixture(scope="module")
def site(model, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("site"), {"tiny": model}) as site:
        yield site


@pytest.fixture(scope="module")
def client(site):
    return site.client()


def said_alone(model, sampling: Sampling) -> str:
    """What the terminal's conversation gives for the same question."""
    talk = Conversation(models=[model], sampling=sampling)
    return "".join(piece.text for piece in talk.ask(ASKED[0]["content"]))


def test_models_are_listed(client):
    assert [one.id for one in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").id == "tiny"
    with pytest.raises(openai.NotFoundError, match="no model 'other'"):
        client.models.retrieve("other")


def test_an_answer_is_the_engines_streamed_or_not(client, model):
    """Seed 7 of the API is seed 7 of the terminal: one engine."""
    sampling = Sampling(temperature=1.0, max_new_tokens=24, seed=7)
    wanted = said_alone(model, sampling)
    how = {"model": "tiny", "messages": ASKED, "seed": 7, "max_tokens": 24}
    whole = client.chat.completions.create(**how)
    assert whole.choices[0].message.content == wanted
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage.prompt_tokens == len(prompt_ids(model.chat, ASKED))
    assert whole.usage.completion_tokens == 24
    events = list(
        client.chat.completions.create(**how, stream=True, stream_options={"include_usage": True})
    )
    assert events[0].choices[0].delta.role == "assistant"
    assert "".join(e.choices[0].delta.content or "" for e in events if e.choices) == wanted
    assert [e.choices[0].finish_reason for e in events if e.choices][-1] == "length"
    assert events[-1].usage == whole.usage


def test_temperature_and_top_p_reach_the_sampling(client, model):
    how = {"model": "tiny", "messages": ASKED, "seed": 3, "max_completion_tokens": 16}
    for temperature, top_p in ((0.0, 1.0), (1.5, 1.0), (1.5, 0.3)):
        sampling = Sampling(temperature=temperature, top_p=top_p, max_new_tokens=16, seed=3)
        answer = client.chat.completions.create(**how, temperature=temperature, top_p=top_p)
        assert answer.choices[0].message.content == said_alone(model, sampling)


def test_n_answers_differ_and_the_first_is_that_of_one(client):
    how = {"model": "tiny", "messages": ASKED, "seed": 1, "max_tokens": 12}
    four = client.chat.completions.create(**how, n=4).choices
    assert [choice.index for choice in four] == [0, 1, 2, 3]
    texts = [choice.message.content for choice in four]
    assert len(set(texts)) == 4
    assert texts[0] == client.chat.completions.create(**how).choices[0].message.content
    streamed = ["", "", "", ""]
    for event in client.chat.completions.create(**how, n=4, stream=True):
        streamed[event.choices[0].index] += event.choices[0].delta.content or ""
    assert streamed == texts


def test_without_a_seed_answers_differ(client):
    how = {"model": "tiny", "messages": ASKED, "max_tokens": 12}
    texts = {client.chat.completions.create(**how).choices[0].message.content for _ in range(3)}
    assert len(texts) == 3


def test_a_stop_text_ends_the_answer_before_it(client):
    how = {"model": "tiny", "messages": ASKED, "seed": 7, "max_tokens": 24, "logprobs": True}
    whole = client.chat.completions.create(**how).choices[0].message.content
    stop = whole[9:12]
    cut = client.chat.completions.create(**how, stop=[stop, "never"]).choices[0]
    assert cut.message.content == whole[: whole.index(stop)]
    assert cut.finish_reason == "stop"
    said = "".join(entry.token for entry in cut.logprobs.content)
    assert said.startswith(cut.message.content)
    streamed = client.chat.completions.create(**how, stop=stop, stream=True)
    pieces = [event.choices[0].delta.content or "" for event in streamed]
    assert "".join(pieces) == cut.message.content


def test_logprobs_are_those_of_a_plain_forward(client, model):
    how = {"model": "tiny", "messages": ASKED, "seed": 7, "max_tokens": 6, "temperature": 2.0}
    answer = client.chat.completions.create(**how, logprobs=True, top_logprobs=3).choices[0]
    prompt = prompt_ids(model.chat, ASKED)
    vocabulary = [decode(replace(model.chat, template_source="none"), [i]) for i in range(340)]
    ids = list(prompt)
    for entry in answer.logprobs.content:
        with torch.no_grad():
            logprobs = model.model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        best = [top.logprob for top in entry.top_logprobs]
        assert best == pytest.approx(logprobs.topk(3).values.tolist(), abs=1e-4)
        same = [i for i, text in enumerate(vocabulary) if text == entry.token]
        ids.append(min(same, key=lambda i: abs(float(logprobs[i]) - entry.logprob)))
        assert entry.logprob == pytest.approx(float(logprobs[ids[-1]]), abs=1e-4)
        assert entry.bytes == list(entry.token.encode())


def test_completions_go_on_with_texts_and_with_ids(client, model):
    how = {"model": "tiny", "max_tokens": 8, "temperature": 0.0}
    one = client.completions.create(**how, prompt="A cat, a", logprobs=2).choices[0]
    raw = replace(model.chat, template_source="none")
    decoder, ids = BatchEngine(model, slots=1), []
    sampling = Sampling(temperature=0, max_new_tokens=8)
    decoder.add(GenerationRequest(ids=prompt_ids(raw, "A cat, a"), sampling=sampling))
    while found := decoder.step():
        ids.append(found[0][1].id)
    assert one.text == decode(raw, ids)
    names = [decode(raw, [i]) for i in ids]
    found = one.logprobs.tokens
    assert all(a == b or b == "\ufffd" for a, b in zip(found, names, strict=True))
    assert sum(a == b for a, b in zip(found, names, strict=True)) > 2
    assert [len(top) for top in one.logprobs.top_logprobs][:1] == [2]
    assert one.logprobs.text_offset[:2] == [0, len(names[0])]
    by_ids = client.completions.create(**how, prompt=prompt_ids(raw, "A cat, a"))
    assert by_ids.choices[0].text == one.text
    several = client.completions.create(**how, prompt=["A cat, a", "Where"], n=2)
    assert [choice.index for choice in several.choices] == [0, 1, 2, 3]
    assert several.choices[0].text == several.choices[1].text == one.text
    streamed = client.completions.create(**how, prompt="A cat, a", stream=True)
    assert "".join(event.choices[0].text for event in streamed) == one.text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"temperature": -1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 65}, "max_tokens=65 is more than this server's 64"),
        ({"n": 17}, "n:"),
        ({"n": "two"}, "n:"),
        ({"stop": ""}, "stop"),
        ({"top_logprobs": 3}, "top_logprobs needs logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"frequency_penalty": 0.5}, "frequency_penalty is not supported"),
        ({"tools": [{"type": "function"}]}, "tools is left out by this model's chat template"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": " "}]}, "the prompt is empty"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
        ({"messages": [{"role": "user", "content": "a \ud800"}]}, "UTF-8"),
        ({"messages": [{"role": "user", "content": "red ball " * 9000}]}, "8192"),
        ({"surprise": 1}, "surprise"),
        ({"messages": [{**ASKED[0], "tool_calls": [{"id": "1"}]}]}, "messages[0].tool_calls"),
    ],
)
def test_what_cannot_be_done_is_said(site, changes, said):
    body = {"model": "tiny", "messages": ASKED, **changes}
    answer = httpx.post(
        f"{site.address}/v1/chat/completions",
        content=json.dumps(body),
        headers={"content-type": "application/json"},
        timeout=240,
    )
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert said in error["message"]
    assert error["type"] == "invalid_request_error"


def test_an_answer_can_be_sent_back_as_it_came(client):
    """`messages.append(answer.choices[0].message)`, as OpenAI's own guide has it."""
    how = {"model": "tiny", "temperature": 0, "max_tokens": 4}
    said = client.chat.completions.create(messages=ASKED, **how).choices[0].message
    again = {"role": "user", "content": "And a dog?"}
    back = client.chat.completions.create(messages=[*ASKED, said, again], **how)
    plain = {"role": "assistant", "content": said.content}
    alike = client.chat.completions.create(messages=[*ASKED, plain, again], **how)
    assert back.choices[0].message.content == alike.choices[0].message.content
    assert back.usage.prompt_tokens == alike.usage.prompt_tokens
    full = {**plain, "refusal": None, "annotations": [], "audio": None, "tool_calls": None}
    taken = client.chat.completions.create(messages=[*ASKED, full, again], **how)
    assert taken.usage.prompt_tokens == alike.usage.prompt_tokens


def test_fields_that_change_nothing_are_taken(client):
    answer = client.chat.completions.create(
        model="tiny",
        messages=[{"role": "developer", "content": [{"type": "text", "text": "Be kind."}]}, *ASKED],
        max_tokens=2,
        frequency_penalty=0,
        logit_bias={},
        response_format={"type": "text"},
        user="somebody",
    )
    assert answer.usage.completion_tokens <= 2


def test_an_unknown_model_and_ids_beyond_the_vocabulary_are_refused(client):
    with pytest.raises(openai.NotFoundError, match="no model 'other'; here are tiny"):
        client.chat.completions.create(model="other", messages=ASKED)
    with pytest.raises(openai.BadRequestError, match="beyond the model's 340 tokens"):
        client.completions.create(model="tiny", prompt=[3, 340])
    with pytest.raises(openai.BadRequestError, match="prompt"):
        client.completions.create(model="tiny", prompt=[])


def test_answers_that_arrive_together_are_those_that_arrive_alone(site, model):
    """32 streams at once, of which every third client goes away: nobody's text changes, and the
    places of those that went are free again."""
    alone = [
        said_alone(model, Sampling(temperature=1.0, max_new_tokens=40, seed=n)) for n in range(32)
    ]

    async def one(client: openai.AsyncOpenAI, number: int) -> str | None:
        leaves = random.Random(number).randrange(1, 10) if number % 3 == 0 else math.inf
        text = ""
        async with await client.chat.completions.create(
            model="tiny", messages=ASKED, seed=number, max_tokens=40, stream=True
        ) as events:
            seen = 0
            async for event in events:
                text += event.choices[0].delta.content or ""
                seen += 1
                if seen > leaves:
                    return None
        return text

    async def all_of_them() -> list[str | None]:
        async with openai.AsyncOpenAI(
            base_url=f"{site.address}/v1", api_key="any", max_retries=0, timeout=240
        ) as client:
            return await asyncio.gather(*(one(client, number) for number in range(32)))

    found = asyncio.run(all_of_them())
    assert sum(text is None for text in found) > 5  # some have ended before their client left
    for number, text in enumerate(found):
        assert text is None or text == alone[number]
    assert site.settle() == (0, 0)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_frees_its_place(endless, tmp_path, stream):
    with serving(tmp_path, {"tiny": endless}, limits=LONG) as site:
        body = {"model": "tiny", "messages": ASKED, "max_tokens": 20_000, "stream": stream, "n": 3}
        address = f"{site.address}/v1/chat/completions"
        patience = httpx.Timeout(240, read=240 if stream else 2)
        with httpx.Client(timeout=patience) as http:
            try:
                with http.stream("POST", address, json=body) as answer:
                    events = answer.iter_lines()
                    for _ in range(20):  # openings of the three, and tokens after them
                        next(events)
                    assert site.served.workers["tiny"].load() == (3, 0)
            except httpx.ReadTimeout:
                assert not stream  # the answer is not there yet, and the client does not wait
        assert site.settle() == (0, 0)


def test_a_full_queue_answers_429_and_takes_again_when_there_is_room(endless, tmp_path):
    limits = replace(LONG, slots=1, waiting=1)
    with serving(tmp_path, {"tiny": endless}, limits=limits) as site:
        client = site.client()
        how = {"model": "tiny", "messages": ASKED, "max_tokens": 20_000}
        first = client.chat.completions.create(**how, stream=True)
        written = [next(first), next(first)]  # who speaks, and a token
        assert len(written) == 2
        second = client.chat.completions.create(**how, stream=True)
        with pytest.raises(openai.RateLimitError, match="1 answers are being written and 1 wait"):
            client.chat.completions.create(**how)
        refused = httpx.post(
            f"{site.address}/v1/chat/completions", json={"model": "tiny", "messages": ASKED}
        )
        assert refused.headers["retry-after"] == "1"
        first.close()
        written = [next(second), next(second)]  # its turn has come
        assert len(written) == 2
        second.close()
        assert site.settle() == (0, 0)
        answer = client.chat.completions.create(**{**how, "max_tokens": 2})
        assert answer.usage.completion_tokens <= 2


def test_a_model_that_raises_tells_who_asked_and_serves_the_next(model, tmp_path):
    """The fault is real: a module of the model that raises once, in the middle of an answer."""
    calls = 0

    def fail_once(module, inputs):
        nonlocal calls
        calls += 1
        if calls == 5:
            raise RuntimeError("out of memory, say")

    hook = model.model.model.norm.register_forward_pre_hook(fail_once)
    try:
        with serving(tmp_path, {"tiny": model}) as site:
            client = site.client()
            how = {"model": "tiny", "messages": ASKED, "max_tokens": 12, "seed": 7}
            with pytest.raises(openai.InternalServerError, match="out of memory, say"):
                client.chat.completions.create(**how)
            calls = 1
            with pytest.raises(openai.APIError, match="out of memory, say"):
                list(client.chat.completions.create(**how, stream=True))
            assert client.chat.completions.create(**how).usage.completion_tokens > 0
            assert site.settle() == (0, 0)
    finally:
        hook.remove()
