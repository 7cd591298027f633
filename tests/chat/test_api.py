"""Responses of the API through OpenAI's own client."""

from dataclasses import replace

import openai
import pytest
import torch

from rlhf.chat.engine import BatchEngine, GenerationRequest
from rlhf.chat.sampling import Sampling
from rlhf.data.tokenization.chat import decode, prompt_ids
from tests.chat.chat_server import MESSAGES, conversation_text


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
