"""The decode loop on a tiny random model: what is sampled must not depend on the batch."""

import dataclasses
import math

import pytest
import torch

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.models.generation import decoder as decode
from rlhf.models.generation.generate import (
    as_responses,
    generate,
    prompt_batch,
    sample_responses,
    uniform_noise,
)
from rlhf.models.generation.kv_cache import FixedSlabLayer
from rlhf.models.load import load_policy
from rlhf.types import PromptBatch
from tests.errors import raises
from tests.tiny_models import make_model

PROMPTS = [[5, 6, 7], [9, 10, 11, 12, 13, 14], [8, 8]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("generate") / "llama")


@pytest.fixture(scope="module")
def model(folder):
    return load_policy(folder)


def batch_of(prompts, indices=None, num_responses=1) -> PromptBatch:
    return prompt_batch(
        prompts,
        ["" for _ in prompts],
        prompt_indices=indices or list(range(len(prompts))),
        num_responses=num_responses,
        pad_token_id=0,
        device=torch.device("cpu"),
    )


def sampled(model, batch, **changes):
    # A tenth of the vocabulary ends a response, so that lengths differ and rows are compacted.
    options = {
        "max_new_tokens": 12,
        "temperature": 0.7,
        "eos_token_ids": tuple(range(100, 134)),
        "pad_token_id": 0,
        "seed": 3,
        "iteration": 1,
    }
    return generate(model, batch, **{**options, **changes})


def test_logprobs_equal_a_plain_forward_pass(model):
    batch = batch_of(PROMPTS)
    generated = sampled(model, batch)
    for row, prompt in enumerate(PROMPTS):
        length = int(generated.response_mask[row].sum())
        response = generated.response_ids[row, :length]
        ids = torch.cat([torch.tensor(prompt), response])[None]
        logits = model(ids).logits[0, len(prompt) - 1 : -1] / 0.7
        expected = logits.log_softmax(-1).gather(-1, response[:, None])[:, 0]
        logprobs = generated.logprobs[row, :length]
        torch.testing.assert_close(logprobs, expected, atol=1e-5, rtol=0)
        probs = logits.softmax(-1)
        entropy = -(probs * probs.log()).sum(-1)
        torch.testing.assert_close(generated.entropies[row, :length], entropy, atol=1e-4, rtol=0)


def test_samples_do_not_depend_on_the_batch(model):
    together = sampled(model, batch_of(PROMPTS))
    for row, prompt in enumerate(PROMPTS):
        alone = sampled(model, batch_of([prompt], indices=[row]))
        length = int(together.response_mask[row].sum())
        assert alone.response_ids[0].tolist() == together.response_ids[row, :length].tolist()


def test_compaction_does_not_change_samples(model, monkeypatch):
    batch = batch_of(PROMPTS * 5, num_responses=2)
    compacted = sampled(model, batch)
    assert compacted.response_mask.sum(1).unique().numel() > 1  # some rows did end early
    monkeypatch.setattr(decode, "ALIVE_SHARE", 0.0)
    uncompacted = sampled(model, batch)
    assert torch.equal(compacted.response_ids, uncompacted.response_ids)


def test_prompts_of_similar_length_are_parts():
    """2 3 3, 9, 9, 10: a part is full at 9 tokens with padding; 9 + 9 + 9 + 10 of 60 are read."""
    assert decode.similar_lengths([9, 3, 10, 2, 3, 9], 9) == [[3, 1, 4], [0], [5], [2]]
    assert decode.similar_lengths([9, 3, 10, 2, 3, 9], 100) == [[0, 1, 2, 3, 4, 5]]
    assert decode.similar_lengths([9, 10, 9, 10], 9) == [[0, 1, 2, 3]]  # 38 of 40: not worth it


@pytest.mark.parametrize("num_responses", [1, 2])
def test_parts_of_prompts_do_not_change_samples(model, monkeypatch, num_responses):
    batch = batch_of([[7], *PROMPTS, [5] * 20, [9] * 19], num_responses=num_responses)
    whole = sampled(model, batch)
    reads = []
    read = decode.Decoder._read
    monkeypatch.setattr(decode, "TOKENS_AT_ONCE", 6)
    monkeypatch.setattr(
        decode.Decoder, "_read", lambda *args: reads.append(args[1].tolist()) or read(*args)
    )
    parts = sampled(model, batch)
    first = [row * num_responses for row in (0, 3, 1, 2, 5, 4)]
    assert [row for rows in reads for row in rows] == first
    assert len(reads) == 4  # 1 2 3 | 6 | 19 | 20 tokens
    assert torch.equal(parts.response_ids, whole.response_ids)
    torch.testing.assert_close(parts.logprobs, whole.logprobs, atol=1e-5, rtol=0)


def test_graph_step_equals_plain_step(model):
    """Fixed shapes: attention over the whole slab under a mask, rows compacted at half of them."""
    batch = batch_of(PROMPTS * 5, num_responses=2)
    plain, fixed = sampled(model, batch), sampled(model, batch, cuda_graphs=True)
    assert plain.response_mask.sum(1).unique().numel() > 1
    assert torch.equal(plain.response_ids, fixed.response_ids)
    torch.testing.assert_close(plain.logprobs, fixed.logprobs, atol=1e-5, rtol=0)
    torch.testing.assert_close(plain.entropies, fixed.entropies, atol=1e-4, rtol=0)


def test_graph_step_reuses_its_memory(model, monkeypatch):
    """Every step of as many rows sees the same keys at the same address."""
    seen = []
    update = FixedSlabLayer.update

    def noting(self, *inputs):
        keys, values = update(self, *inputs)
        if self.fixed:
            seen.append((len(keys), keys.data_ptr(), keys.shape[2]))
        return keys, values

    monkeypatch.setattr(FixedSlabLayer, "update", noting)
    sampled(model, batch_of(PROMPTS), cuda_graphs=True, eos_token_ids=(339,))
    assert len(seen) > len(set(seen)) == model.config.num_hidden_layers
    assert {length for _, _, length in seen} == {6 + 12}


def test_responses_to_one_prompt_share_prefill_and_differ(model):
    """Three answers to each prompt are those that three rows with prompts of their own get."""
    batch = batch_of(PROMPTS, num_responses=3)
    apart = dataclasses.replace(batch, group_ids=torch.arange(9))
    shared = sampled(model, batch)
    assert torch.equal(shared.response_ids, sampled(model, apart).response_ids)
    assert len({tuple(row) for row in shared.response_ids[:3].tolist()}) == 3


def test_shared_prefill_equals_separate_prefills(model, monkeypatch):
    """Log-probs within 1e-5 of prompts read apart; the prompts are read once for all answers."""
    batch = batch_of(PROMPTS, num_responses=4)
    apart = sampled(model, dataclasses.replace(batch, group_ids=torch.arange(12)))
    read = []
    forward = model.forward
    monkeypatch.setattr(
        model, "forward", lambda **inputs: (read.append(inputs["input_ids"]), forward(**inputs))[1]
    )
    shared = sampled(model, batch)
    assert read[0].shape == (3, 6)  # 3 prompts, not 12 rows
    assert all(ids.shape[1] == 1 for ids in read[1:])  # afterwards one token a step
    assert torch.equal(shared.response_ids, apart.response_ids)
    torch.testing.assert_close(shared.logprobs, apart.logprobs, atol=1e-5, rtol=0)


def test_first_stop_id_ends_a_response_and_is_part_of_it(model):
    generated = sampled(model, batch_of(PROMPTS * 5))
    for ids, mask, ended in zip(
        generated.response_ids, generated.response_mask, generated.ended_with_eos, strict=True
    ):
        tokens = ids[mask].tolist()
        stops = [100 <= token < 134 for token in tokens]
        assert not any(stops[:-1])
        assert stops[-1] == bool(ended)
        assert bool(ended) or len(tokens) == 12
    assert torch.all(generated.logprobs[~generated.response_mask] == 0)


def test_other_seed_and_iteration_give_other_samples(model):
    batch = batch_of(PROMPTS)
    ids = sampled(model, batch).response_ids
    assert not torch.equal(ids, sampled(model, batch, seed=4).response_ids)
    assert not torch.equal(ids, sampled(model, batch, iteration=2).response_ids)


def test_temperature_zero_takes_the_most_likely_token(model):
    generated = sampled(model, batch_of(PROMPTS[:1]), temperature=0.0, max_new_tokens=2)
    logits = model(torch.tensor(PROMPTS[:1])).logits[0, -1]
    assert generated.response_ids[0, 0] == logits.argmax()


def test_nan_logits_raise_and_do_not_affect_other_rows(folder):
    """A NaN in the output layer is in every row's softmax: log-probs of NaN, tokens that exist."""
    broken = load_policy(folder)
    broken.lm_head.weight.data[7] = float("nan")
    generated = sampled(broken, batch_of(PROMPTS))
    assert generated.logprobs[generated.response_mask].isnan().all()
    assert generated.response_ids.max() < broken.config.vocab_size
    with raises("non-finite"):
        as_responses(load_tokenizer(str(folder)), generated)


def test_training_mode_is_restored(model):
    model.train()
    sampled(model, batch_of(PROMPTS))
    assert model.training
    with pytest.raises(IndexError):  # an id beyond the vocabulary
        sampled(model, batch_of([[10**6]]))
    assert model.training
    model.eval()


def test_sample_frequencies_equal_model_probabilities(model):
    """4,000 first tokens: each token's share within five standard errors of its probability."""
    batch = batch_of([[5, 6, 7]], num_responses=4000)
    tokens = sampled(model, batch, max_new_tokens=1, temperature=0.3).response_ids[:, 0]
    probs = (model(torch.tensor([[5, 6, 7]])).logits[0, -1] / 0.3).softmax(-1)
    partition_rows = torch.bincount(tokens, minlength=len(probs)) / 4000
    errors = (probs * (1 - probs) / 4000).sqrt()
    assert ((partition_rows - probs).abs() <= 5 * errors + 1 / 4000).all()


def test_noise_is_uniform_and_a_function_of_its_key():
    noise = uniform_noise(1, 2, torch.arange(200), 50)
    assert noise.min() > 0
    assert noise.max() <= 1
    assert math.isclose(noise.mean(), 0.5, abs_tol=0.01)
    assert math.isclose(noise.var(), 1 / 12, abs_tol=0.005)
    assert torch.equal(uniform_noise(1, 2, torch.tensor([7]), 60)[0, :50], noise[7])
    correlation = torch.corrcoef(noise[:, :2].T)[0, 1]
    assert abs(correlation) < 0.25


def test_sample_responses_keep_order_and_ignore_batch_size(model, folder):
    chat = load_tokenizer(str(folder))
    prompts = ["Where is the red ball?", "Name", "Tell me a short story about the sea."]
    options = {"num_responses": 2, "max_new_tokens": 6, "temperature": 1.0, "seed": 0}
    wide = sample_responses(model, chat, prompts, batch_size=64, **options)
    narrow = sample_responses(model, chat, prompts, batch_size=2, **options)
    assert [len(responses) for responses in wide] == [2, 2, 2]
    assert wide == narrow


@pytest.mark.parametrize(
    ("prompts", "settings", "names"),
    [
        ("Hi", {}, ["prompts='Hi'"]),
        (None, {}, ["NoneType"]),
        ({"role": "user", "content": "Hi"}, {}, ["dict"]),
        ([{"role": "user", "content": "Hi"}], {}, ["prompts[0]"]),
        (["Hi", 1], {}, ["prompts[1]", "int"]),
        ([[{"content": "Hi"}]], {}, ["prompts[0]", "role"]),
        (["Hi"], {"max_new_tokens": "5"}, ["max_new_tokens='5'"]),
        (["Hi"], {"max_new_tokens": 0}, ["max_new_tokens=0"]),
        (["Hi"], {"temperature": "1"}, ["temperature='1'"]),
        (["Hi"], {"temperature": math.nan}, ["temperature=nan"]),
    ],
)
def test_arguments_of_another_type_are_rejected(model, folder, prompts, settings, names):
    options = {"max_new_tokens": 2, "temperature": 1.0, **settings}
    chat = load_tokenizer(str(folder))
    with raises("bad-value", *names):
        sample_responses(model, chat, prompts, num_responses=1, seed=0, batch_size=None, **options)


def test_all_responses_are_sampled_at_once_without_a_batch_size(model, folder):
    chat = load_tokenizer(str(folder))
    conversation = [{"role": "user", "content": "Where is the red ball?"}]
    options = {"num_responses": 2, "max_new_tokens": 6, "temperature": 1.0, "seed": 0}
    prompts = ["Where is the red ball?", conversation]
    at_once = sample_responses(model, chat, prompts, batch_size=None, **options)
    assert at_once == sample_responses(model, chat, prompts, batch_size=2, **options)
    assert sample_responses(model, chat, [], batch_size=None, **options) == []
