"""Responses generated together equal those generated alone."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rlhf.chat import engine as engine_module
from rlhf.chat.detokenizer import Detokenizer
from rlhf.chat.engine import LENGTH, STOP, BatchEngine, GenerationRequest
from rlhf.chat.loading import load_chat_model
from rlhf.chat.sampling import Sampling
from rlhf.data.tokenization.chat import decode, prompt_ids
from tests.tiny_models import FAMILIES, make_model

SAMPLED = Sampling(temperature=1.0, max_new_tokens=40)
PROMPTS = [
    "A cat?",
    "Where is the red ball? The red ball is in the box.",
    "Can you name three animals? " * 3,
    "Please",
]


@pytest.fixture(scope="module", params=[*FAMILIES, "gpt2", "mistral"])
def model(request, tmp_path_factory):
    folder: Path = make_model(tmp_path_factory.mktemp(request.param) / "model", request.param)
    return load_chat_model(str(folder))


def make_requests(model, count: int) -> list[GenerationRequest]:
    return [
        GenerationRequest(
            ids=prompt_ids(model.chat, PROMPTS[n % len(PROMPTS)]),
            sampling=replace(
                SAMPLED,
                seed=n // 2,
                max_new_tokens=8 + 9 * (n % 5),
                top_k=20 if n % 3 == 1 else 0,
                repetition_penalty=1.3 if n % 4 == 3 else 1.0,
                frequency_penalty=0.5 if n % 5 == 2 else 0.0,
            ),
            choice=n % 2,
            alternatives=n % 3,
        )
        for n in range(count)
    ]


def generate_alone(model, request: GenerationRequest) -> list:
    engine, tokens = BatchEngine(model, slots=1), []
    engine.add(request)
    while generated := engine.step():
        tokens.append(generated[0][1])
    return tokens


def test_joining_and_leaving_rows_do_not_change_others(model, monkeypatch):
    """Requests join and rows are dropped at random steps; few spare columns force the cache to be
    laid out often. The remaining responses differ from single ones only by rounding."""
    monkeypatch.setattr(engine_module, "SPARE_COLUMNS", 5)
    chance, requests = random.Random(0), make_requests(model, 14)
    engine, rows, tokens = BatchEngine(model, slots=4), {}, {}
    waiting, dropped = list(range(len(requests))), set()
    while waiting or engine.free < 4:
        while waiting and engine.free and chance.random() < 0.6:
            number = waiting.pop(0)
            rows[number] = engine.add(requests[number])
            tokens[number] = []
        numbers = {row: number for number, row in rows.items()}
        for row, token in engine.step():
            tokens[numbers[row]].append(token)
        if chance.random() < 0.03 and rows:
            number = chance.choice(list(rows))
            engine.drop(rows[number])
            dropped.add(number)
    assert 0 < len(dropped) < 5
    for number, request in enumerate(requests):
        alone = generate_alone(model, request)
        together = tokens[number]
        assert [token.id for token in together] == [token.id for token in alone][: len(together)]
        assert number in dropped or len(together) == len(alone)
        for one, other in zip(together, alone, strict=False):
            assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
            assert len(one.likeliest) == request.alternatives


def test_logprobs_are_at_temperature_1_for_any_sampling(model):
    request = replace(make_requests(model, 1)[0], alternatives=3)
    hot = replace(request, sampling=replace(SAMPLED, temperature=3.0, top_p=0.9))
    tokens = generate_alone(model, hot)
    ids = torch.tensor([[*hot.ids, *(token.id for token in tokens)]])
    with torch.no_grad():
        logprobs = model.model(ids).logits[0].float().log_softmax(-1)
    for t, token in enumerate(tokens, len(hot.ids) - 1):
        assert token.logprob == pytest.approx(logprobs[t, token.id].item(), abs=1e-4)
        values = [value for _, value in token.likeliest]
        assert values == pytest.approx(logprobs[t].topk(3).values.tolist(), abs=1e-4)


def test_response_ends_at_eos_or_maximum_length(model):
    tokens = generate_alone(model, make_requests(model, 1)[0])
    assert [token.finish for token in tokens[:-1]] == [""] * (len(tokens) - 1)
    stopped = replace(model, chat=replace(model.chat, eos_token_ids=(tokens[3].id,)))
    first = next(n for n, token in enumerate(tokens) if token.id == tokens[3].id)
    ended = generate_alone(stopped, make_requests(model, 1)[0])
    assert [token.finish for token in ended] == [""] * first + [STOP]
    if tokens[-1].id not in model.chat.eos_token_ids:
        assert tokens[-1].finish == LENGTH


def test_step_of_empty_engine_returns_nothing(model):
    engine = BatchEngine(model, slots=2)
    assert engine.step() == []
    row = engine.add(make_requests(model, 1)[0])
    assert engine.free == 1
    engine.drop(row)
    assert engine.free == 2
    assert engine.step() == []


def test_stop_texts_are_cut_and_their_prefixes_held_back(model):
    """For any tokenization the pieces join to the text before the first stop text."""
    text = "One. Two STOP three"
    ids = model.chat.tokenizer(text, add_special_tokens=False)["input_ids"]
    whole = decode(model.chat, ids)
    for stop in (["STOP"], ["three", " STOP"], ["never"], []):
        detokenizer, pieces = Detokenizer(model.chat, stop), []
        for index, token in enumerate(ids):
            pieces.append(detokenizer.add(token, last=index == len(ids) - 1).text)
            assert not any(ended and whole.startswith(ended) for ended in stop)
            if detokenizer.stopped:
                break
        ends = [whole.find(text) for text in stop if text in whole]
        assert "".join(pieces) == detokenizer.text == whole[: min(ends, default=len(whole))]
        assert detokenizer.stopped is bool(ends)


def test_character_of_several_tokens_is_emitted_once_complete(model):
    ids = model.chat.tokenizer("a €5", add_special_tokens=False)["input_ids"]
    detokenizer = Detokenizer(model.chat)
    pieces = [detokenizer.add(token).text for token in ids]
    assert "\ufffd" not in "".join(pieces)
    assert "".join(pieces) == decode(model.chat, ids)
