"""DPO runs: the first loss, exact resume, batching, non-finite numbers, learning."""

import math

import pytest
import torch

from rlhf.models.cpu_kernels.attention import use_fast_cpu_attention
from rlhf.models.load import load_policy
from rlhf.models.response_logprobs import KnownLogprobs, ResponseLogprobs, response_batch
from rlhf.training.dpo.config import DPOConfig
from rlhf.training.dpo.objective import DPOObjective
from tests.errors import raises
from tests.tiny_models import FAMILIES, make_model
from tests.training.dpo.tiny_dpo import dpo_setup, train_dpo
from tests.training.tiny_runs import assert_same_weights, rankings

RESPONSES = [
    ("Where?", "In the box."),
    ("Where?", "A cat and a bird in the sea."),
    ("Who?", "A dog."),
]
KINDS = {
    "sigmoid": math.log(2),
    "cdpo": math.log(2),
    "robust": math.log(2),
    "hinge": 1.0,
    "ipo": 25.0,
    "apo_zero": 1.0,
    "apo_down": 1.0,
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("packed", [False, True])
def test_logprobs_are_those_of_the_plain_model(tmp_path, family, packed):
    """Sum of log softmax over the response's ids and its end, one row at a time."""
    path = make_model(tmp_path, family)
    setup = dpo_setup(path, tmp_path / "run", rankings(2))
    model = load_policy(path).eval()
    rows = [setup_token(setup, prompt, response) for prompt, response in RESPONSES]
    expected = []
    for row in rows:
        ids = torch.tensor([[*row.prompt_ids, *row.response_ids]])
        with torch.no_grad():
            logprobs = model(ids).logits[0, :-1].log_softmax(-1)
        own = logprobs[len(row.prompt_ids) - 1 :].gather(1, ids[0, len(row.prompt_ids) :, None])
        expected.append(float(own.sum()))
    if packed:
        use_fast_cpu_attention(model)
    module = ResponseLogprobs(model, bf16=False)
    with torch.no_grad():
        values = module(*response_batch(rows, torch.device("cpu")).tensors)
    assert values.tolist() == pytest.approx(expected, rel=1e-4)
    known = KnownLogprobs(module, training=False).read_together(rows[::-1], title="rows")
    assert known.tolist() == pytest.approx(expected[::-1], rel=1e-4)


def setup_token(setup, prompt, response):
    from rlhf.data.tokenization.policy_rows import token_response

    return token_response(setup.chat, prompt, response)


@pytest.mark.parametrize("kind", KINDS)
def test_first_loss_is_that_of_equal_models(llama, tmp_path, kind):
    """All log-ratios are 0: the loss of a pair is known, whatever the number of responses."""
    keys = {"label_smoothing": 0.1} if kind in ("cdpo", "robust") else {}
    rows = rankings(2, responses=2) + rankings(2, responses=5)
    _, lines = train_dpo(
        llama, tmp_path / "run", rows, held_out=rankings(3, seed=1), max_steps=1, loss_type=kind,
        **keys,
    )  # fmt: skip
    held_out, trained = lines[0], lines[1]
    assert held_out["eval_loss"] == pytest.approx(KINDS[kind], abs=1e-4)
    assert trained["loss"] == pytest.approx(KINDS[kind], abs=1e-4)
    assert held_out["eval_accuracy"] == 0.5
    assert trained["reward_margin"] == pytest.approx(0, abs=1e-4)
    assert trained["chosen_logprob"] < -10


def test_resumed_equals_uninterrupted(llama, tmp_path):
    """Eight steps at once, and the last four again from checkpoint-4: bit for bit."""
    keys = {"max_steps": 8, "save_steps": 4, "save_total_limit": 5, "logging_steps": 3}
    keys |= {"held_out": rankings(4, seed=1), "eval_steps": 4}
    whole, lines = train_dpo(llama, tmp_path / "run", rankings(20), **keys)
    again, later = train_dpo(
        llama, tmp_path / "again", rankings(20),
        resume=tmp_path / "run" / "checkpoint-4", **keys,
    )  # fmt: skip
    assert_same_weights(whole, again, rtol=0, atol=0)

    def untimed(found):
        return [{k: v for k, v in line.items() if k != "time"} for line in found]

    assert untimed(later) == untimed([line for line in lines if line["step"] > 4])


@pytest.mark.parametrize(
    "changed", [{"beta": 0.2}, {"loss_type": "hinge"}, {"seed": 1}, {"margin_coef": 0.5}]
)
def test_checkpoint_of_other_loss_or_seed_is_rejected(llama, tmp_path, changed):
    train_dpo(llama, tmp_path / "run", rankings(20), max_steps=2)
    resume = tmp_path / "run" / "checkpoint-2"
    with raises("other-run", *changed):
        train_dpo(llama, tmp_path / "again", rankings(20), resume=resume, max_steps=2, **changed)


def test_checkpoint_of_other_pairs_is_rejected(llama, tmp_path):
    train_dpo(llama, tmp_path / "run", rankings(20)[:18], max_steps=2)
    resume = tmp_path / "run" / "checkpoint-2"
    with raises("other-run", "pairs of sha256"):
        train_dpo(llama, tmp_path / "again", rankings(20)[2:], resume=resume, max_steps=2)


@pytest.mark.parametrize("kind", ["sigmoid", "orpo"])
def test_accumulation_does_not_change_weights(llama, tmp_path, kind):
    """4 prompts at once, or 4 times 1: the same sums, so the same weights."""
    keys = {"max_steps": 3, "loss_type": kind}
    one, _ = train_dpo(llama, tmp_path / "a", rankings(12), **keys)
    four, _ = train_dpo(
        llama, tmp_path / "b", rankings(12),
        per_device_train_batch_size=1, gradient_accumulation_steps=4, **keys,
    )  # fmt: skip
    assert_same_weights(one, four, rtol=1e-3, atol=1e-5)


def test_prompt_counts_once_however_often_it_was_ranked(llama, tmp_path):
    """A ranking that is repeated five times has the gradient of one, next to another prompt."""
    first, second = rankings(2)
    one, _ = train_dpo(llama, tmp_path / "a", [first, second], max_steps=2)
    five, _ = train_dpo(llama, tmp_path / "b", [*[first] * 5, second], max_steps=2)
    assert_same_weights(one, five, rtol=1e-4, atol=1e-6)


def test_non_finite_loss_stops_before_the_step(llama, tmp_path):
    model = load_policy(llama)
    model.lm_head.weight.data[0, 0] = math.nan
    before = model.model.norm.weight.detach().clone()
    with raises("non-finite", "step 1", "Story"):
        train_dpo(llama, tmp_path / "run", rankings(8), model=model, max_steps=2)
    assert torch.equal(model.model.norm.weight, before)
    assert not list((tmp_path / "run").glob("checkpoint-*"))


def test_frozen_model_is_rejected(llama, tmp_path):
    model = load_policy(llama).requires_grad_(False)
    with raises("nothing-trained", "model: 21 of 21"):
        train_dpo(llama, tmp_path / "run", rankings(8), model=model)


@pytest.mark.parametrize("kind", ["sigmoid", "ipo", "hinge", "apo_zero", "simpo", "orpo"])
def test_held_out_accuracy_rises(llama, tmp_path, kind):
    """Rankings by a word's count: from chance to most held-out pairs."""
    beta = {"simpo": 2.0, "ipo": 0.5, "orpo": 5.0}.get(kind, 0.1)
    _, lines = train_dpo(
        llama, tmp_path / "run", rankings(100), held_out=rankings(40, seed=1), max_steps=40,
        per_device_train_batch_size=8, learning_rate=3e-3, eval_steps=40, loss_type=kind,
        beta=beta,
    )  # fmt: skip
    first, *_, last = (line for line in lines if "eval_accuracy" in line)
    assert last["eval_accuracy"] > max(0.75, first["eval_accuracy"] + 0.1)
    assert last["eval_accuracy_low"] < last["eval_accuracy"] <= last["eval_accuracy_high"]
    assert last["eval_loss"] < first["eval_loss"]


def test_sft_term_keeps_chosen_responses_likely(llama, tmp_path):
    """With a large weight the chosen responses' log-prob rises more than without."""
    rows = rankings(30)
    ends = []
    for coef in (0.0, 5.0):
        _, lines = train_dpo(
            llama, tmp_path / f"run-{coef}", rows, max_steps=15, learning_rate=3e-3, sft_coef=coef,
            held_out=rankings(10, seed=1), eval_steps=15,
        )  # fmt: skip
        ends.append(lines[-1]["eval_chosen_logprob"])
    assert ends[1] > ends[0] + 1


def test_margin_asks_for_a_larger_difference_of_clear_preferences(llama, tmp_path):
    """At equal models a pair of strength 3 with margin_coef 0.5 costs -log σ(-1) = 1.3133."""
    from dataclasses import replace

    rows = [replace(row, strength=3.0) for row in rankings(4)]
    _, lines = train_dpo(llama, tmp_path / "run", rows, max_steps=1, margin_coef=0.5)
    assert lines[0]["loss"] == pytest.approx(1.3133, abs=1e-4)


def test_reference_is_not_read_for_losses_without_one(llama, tmp_path):
    setup = dpo_setup(llama, tmp_path / "run", rankings(3), loss_type="simpo", beta=2.0)
    objective = DPOObjective(ResponseLogprobs(load_policy(llama), bf16=False), setup)
    assert objective.reference == {}
    assert not DPOConfig(loss_type="simpo").needs_reference
