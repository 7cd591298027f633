"""PPO-ptx: the gradient is PPO's plus ptx_coef times that of the language-model loss."""

import copy

import pytest
import torch

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.training.common.metrics import read_metrics
from rlhf.training.ppo.ptx import encode_texts
from rlhf.training.ppo.rollout import prompts_for_step
from tests.errors import raises
from tests.training.ppo.tiny_ppo import experience_of, make_folder, trainer, update, weights

TEXTS = ["Where is the red ball?", "A cat, a dog and a bird.", "Tell me a story.", "The sea."]
PTX = {"ptx_data": "unused", "ptx_coef": 0.5, "texts": TEXTS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("ptx"))


def plain_loss(policy, texts):
    """Mean cross-entropy of the predicted tokens, text by text."""
    rows = [torch.tensor(ids) for ids in texts]
    total = sum(
        torch.nn.functional.cross_entropy(
            policy(ids[None]).logits[0, :-1], ids[1:], reduction="sum"
        )
        for ids in rows
    )
    return total / sum(len(ids) - 1 for ids in rows)


def test_gradient_is_the_sum_of_both_parts(folder, tmp_path):
    """Against a plain loop: 0.5 * Σ cross-entropy over predicted tokens / their number."""
    one = trainer(folder, tmp_path, num_minibatches=2, **PTX)
    policy = copy.deepcopy(one.models.policy)
    parameters = one.models.policy_parameters
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 0.01)
    metrics = one.updater.pretraining.add_gradients(parameters, 0)
    loss = plain_loss(policy, one.updater.pretraining.texts)  # all 4 are in a minibatch
    (0.5 * loss).backward()
    assert metrics["ptx_loss"].item() == pytest.approx(loss.item(), abs=1e-5)
    alone = torch.nn.utils.get_total_norm([p.grad for p in policy.parameters()])
    assert metrics["ptx_grad_norm"].item() == pytest.approx(alone.item(), rel=1e-4)
    count = sum(p.numel() for p in parameters)
    assert metrics["ppo_grad_norm"].item() == pytest.approx(0.01 * count**0.5, rel=1e-4)
    for parameter, plain in zip(parameters, policy.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, plain.grad + 0.01, atol=1e-5, rtol=1e-4)


def test_microbatches_change_no_gradient(folder, tmp_path):
    grads = []
    for limit in (4096, 1):
        one = trainer(folder, tmp_path, max_tokens_per_microbatch=limit, **PTX)
        one.updater.pretraining.add_gradients(one.models.policy_parameters, 3)
        grads.append([p.grad for p in one.models.policy_parameters])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("max_tokens", [4096, 1])
def test_each_step_reads_the_texts_of_its_number(folder, tmp_path, max_tokens):
    """One optimizer step an iteration, so iteration 3 is step 2: texts 16 … 23 of the walk.

    The loss is that of the weights before the step, whatever PPO's own microbatches.
    """
    texts = [f"{text} {i * 'red '}" for i, text in enumerate(3 * TEXTS)]
    keys = {"num_minibatches": 1, "num_ppo_epochs": 1, "max_tokens_per_microbatch": max_tokens}
    one = trainer(folder, tmp_path, **{**PTX, **keys, "texts": texts})
    policy = copy.deepcopy(one.models.policy)
    read = prompts_for_step(one.updater.pretraining.texts, 2, count=8, seed=0)
    metrics = update(one, experience_of(one, 3), 3)
    with torch.no_grad():
        assert metrics["ptx_loss"] == pytest.approx(plain_loss(policy, read).item(), abs=1e-5)


def test_ptx_loss_falls_and_norms_are_logged(folder, tmp_path):
    one = trainer(folder, tmp_path, **PTX)
    one.train()
    lines = read_metrics(tmp_path)
    assert lines[-1]["ptx_loss"] < lines[0]["ptx_loss"] - 0.1
    assert all(line["ppo_grad_norm"] > 0 and line["ptx_grad_norm"] > 0 for line in lines)


@pytest.mark.parametrize("limit", [4096, 1])
def test_each_optimizer_step_has_its_own_texts(folder, tmp_path, monkeypatch, limit):
    """2 epochs x 2 minibatches: steps 4 to 7 in the second iteration, whatever the microbatches."""
    one = trainer(folder, tmp_path, max_tokens_per_microbatch=limit, **PTX)
    numbers, add = [], one.updater.pretraining.add_gradients

    def noting(parameters, number):
        numbers.append(number)
        return add(parameters, number)

    monkeypatch.setattr(one.updater.pretraining, "add_gradients", noting)
    update(one, experience_of(one), 2)
    assert numbers == [4, 5, 6, 7]


def test_warm_up_reads_no_text(folder, tmp_path):
    one = trainer(folder, tmp_path, critic_warmup_steps=1, **PTX)
    metrics = update(one, experience_of(one))
    assert "ptx_loss" not in metrics


def test_resumed_run_reads_the_same_texts(folder, tmp_path):
    whole = trainer(folder, tmp_path / "a", max_steps=2, **PTX)
    whole.train()
    resumed = trainer(folder, tmp_path / "b", tmp_path / "a/checkpoint-1", max_steps=2, **PTX)
    resumed.train()
    assert all(torch.equal(x, weights(resumed)[name]) for name, x in weights(whole).items())


def test_long_texts_are_cut_and_empty_ones_raise(folder, tmp_path):
    """Llama's tokenizer here puts a start token before each text, and "" is that alone."""
    one = trainer(folder, tmp_path, max_prompt_length=3, max_completion_length=2)
    chat = load_tokenizer(str(folder / "policy"))
    assert [len(ids) for ids in encode_texts(TEXTS, chat, one.config)] == [5, 5, 5, 5]
    with raises("bad-row", "ptx_data", "1 tokens"):
        encode_texts([""], chat, one.config)
