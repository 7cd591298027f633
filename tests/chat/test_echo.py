"""`echo` of text completions: a prompt's log-probabilities, as lm-evaluation-harness uses it."""

from dataclasses import replace

import openai
import pytest
import torch

from rlhf.chat.introspection import BLOCK
from rlhf.chat.loading import load_chat_model
from rlhf.chat.web.limits import Limits
from rlhf.data.tokenization.chat import decode, prompt_ids
from tests.chat.chat_server import serving
from tests.tiny_models import make_model

SCORED = {"model": "tiny", "temperature": 0, "logprobs": 1, "seed": 1234, "echo": True}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    model = load_chat_model(str(make_model(tmp_path_factory.mktemp("models") / "llama")))
    return replace(model, positions=100_000)


@pytest.fixture(scope="module")
def client(model, tmp_path_factory):
    limits = Limits(slots=4, waiting=64, max_new_tokens=64)
    with serving(tmp_path_factory.mktemp("site"), {"tiny": model}, limits=limits) as site:
        yield site.client()


def reference_logprobs(model, ids: list[int]) -> torch.Tensor:
    """Log-probabilities [T - 1, V] of plain transformers."""
    with torch.no_grad():
        return model.model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)


def test_lm_eval_reads_likelihood_of_a_continuation(client, model):
    """local-completions sends ids of context and continuation, requests one more token, and sums
    token_logprobs[len(context):-1]; greedy where each is the largest of its top_logprobs."""
    raw = replace(model.chat, template_source="none")
    context, whole = prompt_ids(raw, "A cat, a"), prompt_ids(raw, "A cat, a dog and a bird")
    length = len(context)
    choice = client.completions.create(prompt=[whole], max_tokens=1, **SCORED).choices[0]
    logprobs = reference_logprobs(model, whole)
    own = logprobs.gather(1, torch.tensor(whole[1:])[:, None])[:, 0]
    token_logprobs = choice.logprobs.token_logprobs
    assert token_logprobs[0] is None
    assert choice.logprobs.top_logprobs[0] is None
    assert len(token_logprobs) == len(whole) + 1
    assert sum(token_logprobs[length:-1]) == pytest.approx(float(own[length - 1 :].sum()), abs=1e-3)
    best = [max(top.values()) for top in choice.logprobs.top_logprobs[1:-1]]
    assert best == pytest.approx(logprobs.max(-1).values.tolist(), abs=1e-4)


def test_eos_counts_as_a_token(client, model):
    """With an EOS that is almost certain the one token is that EOS; without it the slice [:-1]
    would cut a token of the prompt."""
    end = model.chat.end_token_id

    def raise_eos_logit(module, inputs, output):
        output[..., end] += 100.0
        return output

    hook = model.model.lm_head.register_forward_hook(raise_eos_logit)
    try:
        choice = client.completions.create(prompt="A cat", max_tokens=1, **SCORED).choices[0]
    finally:
        hook.remove()
    ids = prompt_ids(replace(model.chat, template_source="none"), "A cat")
    assert choice.finish_reason == "stop"
    assert choice.logprobs.tokens[-1] == "<|eot_id|>"
    assert choice.logprobs.token_logprobs[-1] == pytest.approx(0.0, abs=1e-3)
    assert len(choice.logprobs.tokens) == len(ids) + 1
    assert choice.text == "A cat"
    assert choice.logprobs.text_offset[-1] == len("A cat")


def test_prompt_longer_than_a_block_is_read_as_one(client, model):
    raw = replace(model.chat, template_source="none")
    ids = prompt_ids(raw, "Where is the red ball? " * 70)
    assert len(ids) > 2 * BLOCK
    choice = client.completions.create(prompt=ids, max_tokens=0, **SCORED).choices[0]
    own = reference_logprobs(model, ids).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    assert choice.logprobs.token_logprobs[1:] == pytest.approx(own.tolist(), abs=1e-3)


def test_max_tokens_0_returns_prompt_alone(client, model):
    completion = client.completions.create(prompt="A cat, a", max_tokens=0, **SCORED)
    [choice] = completion.choices
    assert (choice.text, choice.finish_reason) == ("A cat, a", "length")
    names = [name for name in choice.logprobs.tokens if name != "<|begin|>"]
    assert "".join(names) == "A cat, a"
    assert choice.logprobs.text_offset[:3] == [0, 0, len(names[0])]  # the first has no text
    assert completion.usage.completion_tokens == 0


def test_several_prompts_and_responses_keep_their_order(client, model):
    options = {**SCORED, "logprobs": None, "max_tokens": 4, "n": 2}
    echoed = client.completions.create(prompt=["A cat, a", "Where"], **options).choices
    plain = client.completions.create(
        prompt=["A cat, a", "Where"], **{**options, "echo": False}
    ).choices
    starts = ["A cat, a", "A cat, a", "Where", "Where"]
    expected = [start + choice.text for start, choice in zip(starts, plain, strict=True)]
    assert [choice.text for choice in echoed] == expected
    assert echoed[0].logprobs is None
    ids = prompt_ids(replace(model.chat, template_source="none"), "A cat, a")
    [by_ids] = client.completions.create(prompt=ids, **{**options, "n": 1}).choices
    assert by_ids.text == decode(replace(model.chat, template_source="none"), ids) + plain[0].text


def test_echo_with_stream_is_rejected(client):
    with pytest.raises(openai.BadRequestError, match="echo is not supported with stream"):
        client.completions.create(prompt="A cat", max_tokens=1, stream=True, **SCORED)
    with pytest.raises(openai.BadRequestError, match="max_tokens=0 needs echo: true"):
        client.completions.create(model="tiny", prompt="A cat", max_tokens=0)
