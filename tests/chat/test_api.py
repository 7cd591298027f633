"""Responses of the API through OpenAI's own client."""

import json
from dataclasses import replace

import httpx
import openai
import pytest
import torch
from openai import types

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


def test_top_k_of_1_is_greedy(client):
    options = {"model": "tiny", "messages": MESSAGES, "max_tokens": 12}
    greedy = client.chat.completions.create(**options, temperature=0).choices[0].message.content
    for truncation in ({"top_k": 1}, {"min_p": 1.0}):
        sampled = client.chat.completions.create(**options, temperature=2, extra_body=truncation)
        assert sampled.choices[0].message.content == greedy


def test_bias_and_penalties_choose_the_tokens(client):
    """Biases of 100 and 99 leave two tokens. The frequency penalty of 2 makes them alternate;
    without it the first is repeated. The log-probabilities stay those of the model."""
    bias = {"300": 100, "301": 99}
    options = {"model": "tiny", "messages": MESSAGES, "max_tokens": 6, "temperature": 0}
    options |= {"logit_bias": bias, "logprobs": True}
    plain = client.chat.completions.create(**options).choices[0].logprobs.content
    assert len({entry.token for entry in plain}) == 1
    assert max(entry.logprob for entry in plain) < -1
    varied = client.chat.completions.create(**options, frequency_penalty=2).choices[0]
    tokens = [entry.token for entry in varied.logprobs.content]
    assert tokens[:2] * 3 == tokens
    assert tokens[0] != tokens[1]
    by_presence = client.chat.completions.create(**options, presence_penalty=2).choices[0]
    tokens = [entry.token for entry in by_presence.logprobs.content]
    assert tokens[0] != tokens[1]


def test_embedding_is_the_mean_of_hidden_states(client, model):
    """OpenAI's client asks for base64; ids and texts give the same."""
    raw = replace(model.chat, template_source="none")
    ids = prompt_ids(raw, "A cat, a dog")
    with torch.no_grad():
        states = model.model.base_model(torch.tensor([ids])).last_hidden_state[0]
    expected = torch.nn.functional.normalize(states.mean(0), dim=0).tolist()
    reply = client.embeddings.create(model="tiny", input=["A cat, a dog", "A bird"])
    assert [one.index for one in reply.data] == [0, 1]
    assert reply.data[0].embedding == pytest.approx(expected, abs=1e-5)
    assert reply.usage.prompt_tokens == len(ids) + len(prompt_ids(raw, "A bird"))
    by_ids = client.embeddings.create(model="tiny", input=ids, encoding_format="float")
    assert by_ids.data[0].embedding == pytest.approx(expected, abs=1e-5)
    same = client.embeddings.create(model="tiny", input="A cat, a dog", dimensions=32)
    assert same.data[0].embedding == reply.data[0].embedding
    with pytest.raises(openai.BadRequestError, match="dimensions=16 is not supported"):
        client.embeddings.create(model="tiny", input="A", dimensions=16)
    with pytest.raises(openai.BadRequestError, match="a text is empty"):
        client.embeddings.create(model="tiny", input="")


@pytest.mark.parametrize("stream", [False, True])
def test_answers_have_openais_types(site, stream):
    """Its client itself accepts anything; pydantic checks every field here. While a text streams,
    its finish_reason is null, although OpenAI's type has no null."""
    chat = {"messages": MESSAGES, "logprobs": True, "top_logprobs": 2, "n": 2, "max_tokens": 4}
    text = {"prompt": "A cat", "logprobs": 1, "max_tokens": 4}
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    kinds = [
        ("chat/completions", chat, types.chat.ChatCompletionChunk if stream else
         types.chat.ChatCompletion),
        ("completions", text, types.Completion),
    ]  # fmt: skip
    for path, body, kind in kinds:
        reply = httpx.post(
            f"{site.address}/v1/{path}", json={"model": "tiny", **body, **options}, timeout=240
        )
        lines = [line.removeprefix("data: ") for line in reply.text.splitlines() if line]
        for line in [line for line in lines if line != "[DONE]"]:
            answer = json.loads(line)
            for choice in answer["choices"] if stream and path == "completions" else []:
                choice["finish_reason"] = choice["finish_reason"] or "stop"
            kind.model_validate(answer)


def test_lists_have_openais_types(site):
    models = httpx.get(f"{site.address}/v1/models").json()
    types.Model.model_validate(models["data"][0])
    body = {"model": "tiny", "input": "A cat"}
    embeddings = httpx.post(f"{site.address}/v1/embeddings", json=body, timeout=240).json()
    types.CreateEmbeddingResponse.model_validate(embeddings)
