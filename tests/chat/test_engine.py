"""Rows that come and go are written as if each were alone."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rlhf.chat import engine as module
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


def questions(model, count: int) -> list[GenerationRequest]:
    return [
        GenerationRequest(
            ids=prompt_ids(model.chat, PROMPTS[n % len(PROMPTS)]),
            sampling=replace(SAMPLED, seed=n // 2, max_new_tokens=8 + 9 * (n % 5)),
            choice=n % 2,
            alternatives=n % 3,
        )
        for n in range(count)
    ]


def written_alone(model, question: GenerationRequest) -> list:
    decoder, tokens = BatchEngine(model, slots=1), []
    decoder.add(question)
    while found := decoder.step():
        tokens.append(found[0][1])
    return tokens


def test_rows_that_join_and_leave_are_written_as_if_alone(model, monkeypatch):
    """At random moments questions come and rows are dropped; a narrow ROOM has the cache laid out
    often. What is left differs from each question alone by rounding only."""
    monkeypatch.setattr(module, "ROOM", 5)
    chance, asked = random.Random(0), questions(model, 14)
    decoder, rows, tokens = BatchEngine(model, slots=4), {}, {}
    waiting, dropped = list(range(len(asked))), set()
    while waiting or decoder.free < 4:
        while waiting and decoder.free and chance.random() < 0.6:
            number = waiting.pop(0)
            rows[number] = decoder.add(asked[number])
            tokens[number] = []
        numbers = {row: number for number, row in rows.items()}
        for row, token in decoder.step():
            tokens[numbers[row]].append(token)
        if chance.random() < 0.03 and rows:
            number = chance.choice(list(rows))
            decoder.drop(rows[number])
            dropped.add(number)
    assert 0 < len(dropped) < 5
    for number, question in enumerate(asked):
        alone = written_alone(model, question)
        together = tokens[number]
        assert [token.id for token in together] == [token.id for token in alone][: len(together)]
        assert number in dropped or len(together) == len(alone)
        for one, other in zip(together, alone, strict=False):
            assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
            assert len(one.likeliest) == question.alternatives


def test_logprobs_are_the_models_own_whatever_is_drawn_with(model):
    question = replace(questions(model, 1)[0], alternatives=3)
    hot = replace(question, sampling=replace(SAMPLED, temperature=3.0, top_p=0.9))
    tokens = written_alone(model, hot)
    ids = torch.tensor([[*hot.ids, *(token.id for token in tokens)]])
    with torch.no_grad():
        logprobs = model.model(ids).logits[0].float().log_softmax(-1)
    for at, token in enumerate(tokens, len(hot.ids) - 1):
        assert token.logprob == pytest.approx(logprobs[at, token.id].item(), abs=1e-4)
        values = [value for _, value in token.likeliest]
        assert values == pytest.approx(logprobs[at].topk(3).values.tolist(), abs=1e-4)


def test_an_answer_ends_at_an_eos_or_at_its_length(model):
    tokens = written_alone(model, questions(model, 1)[0])
    assert [token.finish for token in tokens[:-1]] == [""] * (len(tokens) - 1)
    stopped = replace(model, chat=replace(model.chat, eos_token_ids=(tokens[3].id,)))
    first = next(n for n, token in enumerate(tokens) if token.id == tokens[3].id)
    ended = written_alone(stopped, questions(model, 1)[0])
    assert [token.finish for token in ended] == [""] * first + [STOP]
    if tokens[-1].id not in model.chat.eos_token_ids:
        assert tokens[-1].finish == LENGTH


def test_an_empty_decoder_has_nothing_to_say(model):
    decoder = BatchEngine(model, slots=2)
    assert decoder.step() == []
    row = decoder.add(questions(model, 1)[0])
    assert decoder.free == 1
    decoder.drop(row)
    assert decoder.free == 2
    assert decoder.step() == []


def test_stop_texts_are_cut_and_their_beginnings_held_back(model):
    """Whatever the tokens are, pieces add up to the text before the first stop text."""
    text = "One. Two STOP three"
    ids = model.chat.tokenizer(text, add_special_tokens=False)["input_ids"]
    whole = decode(model.chat, ids)
    for stop in (["STOP"], ["three", " STOP"], ["never"], []):
        writer, pieces = Detokenizer(model.chat, stop), []
        for token_at, token in enumerate(ids):
            pieces.append(writer.add(token, last=token_at == len(ids) - 1).text)
            assert not any(ended and whole.startswith(ended) for ended in stop)
            if writer.stopped:
                break
        ends = [whole.find(one) for one in stop if one in whole]
        assert "".join(pieces) == writer.text == whole[: min(ends, default=len(whole))]
        assert writer.stopped is bool(ends)


def test_a_character_of_several_tokens_comes_whole(model):
    ids = model.chat.tokenizer("a €5", add_special_tokens=False)["input_ids"]
    writer = Detokenizer(model.chat)
    pieces = [writer.add(token).text for token in ids]
    assert "\ufffd" not in "".join(pieces)
    assert "".join(pieces) == decode(model.chat, ids)
