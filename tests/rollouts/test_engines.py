"""What every engine does: responses of the given weights, with their log-probs and ends."""

import os
from contextlib import nullcontext

import pytest
import torch

from rlhf.data.tokenization.chat import prompt_ids
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.models.forward import response_logprobs
from rlhf.models.generation.generate import prompt_batch
from rlhf.models.load import load_policy
from rlhf.rollouts.config import RolloutConfig
from rlhf.rollouts.engine import Sampling
from rlhf.rollouts.load import load_engine
from rlhf.rollouts.native import NativeEngine
from rlhf.rollouts.trial import try_engine
from rlhf.types import PromptRow
from tests.errors import raises

PROMPTS = ["Where is the ball?", "Name a cat.", "Tell me a long story about the sea."]
K = 3
VLLM = os.environ.get("RLHF_VLLM_PYTHON")
ENGINES = [
    "native",
    "transformers",
    "fake server",
    pytest.param("vllm", marks=pytest.mark.skipif(not VLLM, reason="needs RLHF_VLLM_PYTHON")),
]


@pytest.fixture(scope="module", params=ENGINES)
def engine(request, policy_folder, tmp_path_factory):
    """An engine with the policy's weights."""
    server, name = None, request.param
    keys = {"rollout_engine": name}
    if name == "fake server":
        from tests.rollouts.fake_server import FakeServer

        server = FakeServer(policy_folder)
        keys = {"rollout_engine": "vllm", "rollout_server": server.address}
    if name == "vllm":
        keys["rollout_python"] = VLLM
    chat = load_tokenizer(str(policy_folder))
    made = load_engine(
        RolloutConfig(**keys), model=str(policy_folder), max_length=128, bf16=False, seed=0,
        folder=tmp_path_factory.mktemp("run"), cuda_graphs=False, copies=False,
        texts=["Name a cat."],
        ids=[chat.tokenizer("Name a cat.", add_special_tokens=False)["input_ids"]],
    )  # fmt: skip
    made.update_weights(load_policy(policy_folder))
    yield made
    made.close()
    if server is not None:
        server.close()


@pytest.fixture(scope="module")
def chat(policy_folder):
    return load_tokenizer(str(policy_folder))


def batch_of(chat):
    return prompt_batch(
        [prompt_ids(chat, prompt) for prompt in PROMPTS], PROMPTS, prompt_indices=[4, 5, 6],
        num_responses=K, pad_token_id=chat.pad_token_id, device=torch.device("cpu"),
    )  # fmt: skip


def sampling(chat, **changes):
    keys = {
        "max_new_tokens": 12, "temperature": 0.7, "eos_token_ids": chat.eos_token_ids,
        "pad_token_id": chat.pad_token_id, "seed": 3, "iteration": 2,
    }  # fmt: skip
    return Sampling(**(keys | changes))


def expected_logprobs(policy, batch, generated, temperature):
    return response_logprobs(
        policy, batch, generated.response_ids, generated.response_mask, temperature=temperature
    )


def test_logprobs_are_of_the_policy_at_the_temperature(engine, chat, policy_folder):
    batch = batch_of(chat)
    generated = engine.generate(batch, sampling(chat))
    assert len(generated.response_ids) == len(PROMPTS) * K
    expected = expected_logprobs(load_policy(policy_folder), batch, generated, 0.7)
    torch.testing.assert_close(generated.logprobs, expected, atol=2e-4, rtol=0)


def test_seed_and_iteration_determine_the_responses(engine, chat):
    batch = batch_of(chat)
    first = engine.generate(batch, sampling(chat))
    again = engine.generate(batch, sampling(chat))
    assert torch.equal(first.response_ids, again.response_ids)
    for changes in ({"seed": 4}, {"iteration": 3}):
        other = engine.generate(batch, sampling(chat, **changes))
        assert other.response_ids.tolist() != first.response_ids.tolist()
    rows = [tuple(row) for row in first.response_ids.tolist()]
    assert len(set(rows[:K])) > 1  # responses to one prompt have noise of their own


def test_end_tokens_end_a_response_and_are_part_of_it(engine, chat):
    """A third of the vocabulary ends a response: most end early, and not by the model's own EOS."""
    ends = tuple(range(0, chat.tokenizer.vocab_size, 3))
    generated = engine.generate(batch_of(chat), sampling(chat, eos_token_ids=ends, temperature=2.0))
    lengths = generated.response_mask.sum(1).tolist()
    assert min(lengths) < 12
    for ids, length, ended in zip(
        generated.response_ids.tolist(), lengths, generated.ended_with_eos.tolist(), strict=True
    ):
        assert ended == (ids[length - 1] in ends)
        assert ended or length == 12
        assert not set(ids[: length - 1]) & set(ends)
        assert set(ids[length:]) <= {chat.pad_token_id}


def test_every_row_has_a_limit_of_its_own(engine, chat):
    """No row is longer than its limit, and one that did not end is as long as it."""
    limits = [1, 1, 1, 12, 12, 12, 5, 5, 5]
    generated = engine.generate(batch_of(chat), sampling(chat, row_limits=limits))
    lengths, ended = generated.response_mask.sum(1).tolist(), generated.ended_with_eos.tolist()
    for length, limit, has_ended in zip(lengths, limits, ended, strict=True):
        assert length == limit or (has_ended and length < limit)


def test_no_temperature_gives_the_likeliest_tokens(engine, chat, policy_folder):
    native = NativeEngine()
    native.update_weights(load_policy(policy_folder))
    batch, greedy = batch_of(chat), sampling(chat, temperature=0.0)
    expected, given = native.generate(batch, greedy), engine.generate(batch, greedy)
    assert given.response_ids.tolist() == expected.response_ids.tolist()


def test_trial_tells_other_weights_apart(engine, chat, policy_folder):
    """A head 100 times as large; engines with the policy itself in memory are not tried."""
    policy, row = load_policy(policy_folder), PromptRow(prompt=PROMPTS[0])
    try_engine(engine, policy, chat, row, longest=12, place="a test")
    with torch.no_grad():
        policy.lm_head.weight.mul_(100)
    with raises("engine-mismatch", "a test") if engine.name == "vllm" else nullcontext():
        try_engine(engine, policy, chat, row, longest=12, place="a test")


def test_new_weights_are_used(engine, chat, policy_folder):
    """Of a policy that is far from the first one; then the first one again."""
    policy, batch = load_policy(policy_folder), batch_of(chat)
    before = engine.generate(batch, sampling(chat))
    with torch.no_grad():
        for index, parameter in enumerate(policy.parameters()):
            draw = torch.Generator().manual_seed(index)
            parameter += 0.05 * torch.randn(parameter.shape, generator=draw)
    engine.update_weights(policy)
    generated = engine.generate(batch, sampling(chat))
    expected = expected_logprobs(policy, batch, generated, 0.7)
    torch.testing.assert_close(generated.logprobs, expected, atol=2e-4, rtol=0)
    old = expected_logprobs(load_policy(policy_folder), batch, generated, 0.7)
    assert (generated.logprobs - old).abs().max() > 0.1
    engine.update_weights(load_policy(policy_folder))
    after = engine.generate(batch, sampling(chat))
    assert torch.equal(after.response_ids, before.response_ids)
