"""Reward-model training: exact resume, batching that does not change gradients, learning."""

import math
from dataclasses import replace

import pytest
import torch

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.models.load import new_reward_model
from rlhf.models.scorer import Scorer
from rlhf.training.reward.data import draw_for_heads, tokenize
from rlhf.training.reward.loop import train_reward_model
from rlhf.training.reward.metrics import measure
from rlhf.training.reward.scores import Scores
from tests.errors import raises
from tests.training.tiny_runs import assert_same_weights, rankings, reward_setup, train_reward


def test_resumed_equals_uninterrupted(llama, tmp_path):
    """Eight steps at once, and the last four again from checkpoint-4: bit for bit."""
    keys = {"max_steps": 8, "save_steps": 4, "save_total_limit": 5}
    whole, lines = train_reward(llama, tmp_path / "run", rankings(20), **keys)
    again, later = train_reward(
        llama,
        tmp_path / "again",
        rankings(20),
        resume=tmp_path / "run" / "checkpoint-4",
        **keys,
    )
    assert_same_weights(whole, again, rtol=0, atol=0)
    assert [x["loss"] for x in later] == [x["loss"] for x in lines if x["step"] > 4]


def test_resumed_run_logs_mean_loss_of_all_steps(llama, tmp_path):
    """A checkpoint between two lines of metrics: the next line averages earlier steps too."""
    keys = {"max_steps": 6, "save_steps": 2, "save_total_limit": 5, "logging_steps": 3}
    _, lines = train_reward(llama, tmp_path / "run", rankings(20), **keys)
    _, later = train_reward(
        llama,
        tmp_path / "again",
        rankings(20),
        resume=tmp_path / "run" / "checkpoint-2",
        **keys,
    )
    assert [(x["step"], x["loss"]) for x in later] == [
        (x["step"], x["loss"]) for x in lines if x["step"] > 2
    ]


@pytest.mark.parametrize(
    "changed", [{"label_smoothing": 0.1}, {"loss_type": "plackett_luce"}, {"seed": 1}]
)
def test_checkpoint_of_other_loss_or_seed_is_rejected(llama, tmp_path, changed):
    train_reward(llama, tmp_path / "run", rankings(20), max_steps=2)
    resume = tmp_path / "run" / "checkpoint-2"
    with raises("other-run", *changed):
        train_reward(llama, tmp_path / "again", rankings(20), resume=resume, max_steps=2, **changed)


def test_checkpoint_of_other_rankings_is_rejected(llama, tmp_path):
    """The same number of rankings of the same file, with another share held out."""
    train_reward(llama, tmp_path / "run", rankings(20)[:18], max_steps=2)
    with raises("other-run", "rankings of sha256"):
        train_reward(
            llama,
            tmp_path / "again",
            rankings(20)[2:],
            resume=tmp_path / "run" / "checkpoint-2",
            max_steps=2,
        )


def test_checkpoint_of_other_batch_size_is_rejected(llama, tmp_path):
    train_reward(llama, tmp_path / "run", rankings(20), max_steps=2)
    with raises("other-run", "batch_size"):
        train_reward(
            llama,
            tmp_path / "again",
            rankings(20),
            resume=tmp_path / "run" / "checkpoint-2",
            max_steps=2,
            per_device_train_batch_size=8,
        )


def test_checkpoint_of_other_annotator_weights_is_rejected(llama, tmp_path):
    rows = [replace(row, annotator="Ann") for row in rankings(20)]
    train_reward(llama, tmp_path / "run", rows, max_steps=2)
    setup = reward_setup(llama, tmp_path / "again", rows, max_steps=2)
    changed = [replace(row, weights=(0.5,)) for row in tokenize(setup.chat, rows)]
    model, checkpoint = new_reward_model(llama, seed=0), tmp_path / "run" / "checkpoint-2"
    with raises("other-run", "weights"):
        scores = Scores(Scorer(model, bf16=False), setup.chat.pad_token_id)
        train_reward_model(scores, changed, [], setup, resume=checkpoint)


def test_accumulation_does_not_change_weights(llama, tmp_path):
    """4 prompts at once, or 4 times 1: the same sums, so the same weights."""
    one, _ = train_reward(llama, tmp_path / "a", rankings(12), max_steps=3)
    four, _ = train_reward(
        llama,
        tmp_path / "b",
        rankings(12),
        max_steps=3,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=4,
    )
    assert_same_weights(one, four, rtol=1e-3, atol=1e-5)


def test_first_loss_of_zero_head_is_log_2(llama, tmp_path):
    """All rewards are 0: every pair costs log 2, whatever the number of responses."""
    model = new_reward_model(llama, seed=0)
    model.score.weight.data.zero_()
    rows = rankings(2, responses=2) + rankings(2, responses=5)
    _, lines = train_reward(llama, tmp_path / "run", rows, model=model, max_steps=1)
    assert lines[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)


def test_held_out_accuracy_rises_above_0_9(llama, tmp_path):
    """Rankings by a word's count: from chance to nearly all held-out pairs."""
    held_out = rankings(40, seed=1)
    _, lines = train_reward(
        llama,
        tmp_path / "run",
        rankings(100),
        held_out=held_out,
        max_steps=25,
        per_device_train_batch_size=8,
        learning_rate=3e-3,
        eval_steps=25,
    )
    evaluated = [line for line in lines if "eval_accuracy" in line]
    assert evaluated[0]["step"] == 0
    assert evaluated[-1]["eval_accuracy"] > 0.9
    assert evaluated[-1]["eval_accuracy_low"] < evaluated[-1]["eval_accuracy"]
    assert evaluated[-1]["eval_loss"] < 0.4


def test_heads_resume_exactly_and_draw_exponential_weights(llama, tmp_path):
    """Three heads, each on its own draw of the rankings; the last half again, bit for bit."""
    path = llama
    keys = {"max_steps": 8, "save_steps": 4, "num_heads": 3}
    whole, _ = train_reward(
        llama, tmp_path / "run", rankings(20), model=new_reward_model(path, seed=0, num_heads=3),
        **keys,
    )  # fmt: skip
    again, _ = train_reward(
        llama, tmp_path / "again", rankings(20), resume=tmp_path / "run" / "checkpoint-4",
        model=new_reward_model(path, seed=0, num_heads=3), **keys,
    )  # fmt: skip
    assert_same_weights(whole, again, rtol=0, atol=0)
    drawn = draw_for_heads(tokenize(load_tokenizer(str(llama)), rankings(2000)), 3, seed=0)
    weights = torch.tensor([row.weights for row in drawn])
    # Exponential: mean 1 and std 1, each within 4 standard errors of 2000 draws.
    torch.testing.assert_close(weights.mean(dim=0), torch.ones(3), rtol=0, atol=0.09)
    torch.testing.assert_close(weights.std(dim=0), torch.ones(3), rtol=0, atol=0.15)


def test_early_stopping_keeps_weights_of_lowest_loss(llama, tmp_path):
    """The learning rate is far too high: the loss rises and the run ends with its best weights."""
    held_out = rankings(20, seed=1)
    keys = {"eval_steps": 2, "learning_rate": 3e-2, "max_steps": 60}
    model, lines = train_reward(
        llama,
        tmp_path / "run",
        rankings(30),
        held_out=held_out,
        early_stopping_patience=2,
        **keys,
    )
    losses = {line["step"]: line["eval_loss"] for line in lines if "eval_loss" in line}
    best = min(losses, key=losses.get)
    assert max(losses) == best + 4 < 60
    chat = load_tokenizer(str(llama))
    health = measure(Scores(Scorer(model, bf16=False), chat.pad_token_id), tokenize(chat, held_out))
    assert health.loss == pytest.approx(losses[best], abs=1e-5)


def test_early_stopped_run_resumes_to_the_same_weights(llama, tmp_path):
    """From a checkpoint in the middle, and from the last: the same end, the same weights."""
    held_out, rows = rankings(20, seed=1), rankings(30)
    keys = {"eval_steps": 2, "learning_rate": 3e-2, "max_steps": 60, "save_steps": 2}
    keys |= {"early_stopping_patience": 2, "save_total_limit": 50, "held_out": held_out}
    whole, lines = train_reward(llama, tmp_path / "run", rows, **keys)
    last = max(line["step"] for line in lines)
    for step in (2, last):
        checkpoint = tmp_path / "run" / f"checkpoint-{step}"
        again, _ = train_reward(llama, tmp_path / f"again-{step}", rows, resume=checkpoint, **keys)
        assert_same_weights(whole, again, rtol=0, atol=0)
