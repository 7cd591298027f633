"""Reward-model runs that would train nothing, or only a part."""

import math
from dataclasses import replace

import torch

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.models.config import ModelConfig
from rlhf.models.load import new_reward_model
from rlhf.models.lora import add_lora
from rlhf.models.scorer import Scorer, score_ids
from tests.errors import raises
from tests.training.tiny_runs import rankings, train_reward


def test_non_finite_loss_stops_before_the_step(llama, tmp_path):
    """The error names the step and a prompt; no weight moves, no checkpoint is written."""
    model = new_reward_model(llama, seed=0)
    model.score.weight.data[0, 0] = math.nan
    others = model.base_model.state_dict()["norm.weight"].clone()
    with raises("non-finite", "step 1", "'Story"):
        train_reward(llama, tmp_path / "run", rankings(8), model=model, max_steps=2)
    assert torch.equal(model.base_model.state_dict()["norm.weight"], others)
    assert not list((tmp_path / "run").glob("checkpoint-*"))


def test_gradient_of_zero_stops_the_run(llama, tmp_path):
    model = new_reward_model(llama, seed=0)
    for parameter in model.parameters():
        parameter.register_hook(torch.zeros_like)
    with raises("nothing-trained", "step 1", "reward model"):
        train_reward(llama, tmp_path / "run", rankings(8), model=model, max_steps=2)


def test_frozen_trunk_is_rejected(llama, tmp_path):
    """Only the head would learn, with a falling loss and a gradient that is not 0."""
    model = new_reward_model(llama, seed=0)
    model.base_model.requires_grad_(False)
    with raises("nothing-trained", "model: 20 of 20", "model.embed_tokens"):
        train_reward(llama, tmp_path / "run", rankings(8), model=model, max_steps=2)


def test_rankings_of_ties_have_zero_gradient(llama, tmp_path):
    """With ties=out a tie is no part of the loss."""
    tied = [replace(row, ranks=[1] * len(row.ranks)) for row in rankings(8)]
    _, lines = train_reward(llama, tmp_path / "run", tied, ties="out", max_steps=2)
    assert [line["grad_norm"] for line in lines] == [0.0, 0.0]


def test_lora_on_bf16_base_scores_with_float32_head(llama, tmp_path):
    """peft lists the frozen bf16 head first; a score is the trained head times the last state."""
    path, chat = llama, load_tokenizer(str(llama))
    lora = ModelConfig(model_name_or_path=str(path), use_peft=True, lora_r=4)
    fresh = new_reward_model(path, seed=0, dtype=torch.bfloat16)
    model = add_lora(fresh, lora, "SEQ_CLS")
    _, lines = train_reward(
        llama, tmp_path / "run", rankings(8), model=model, bf16=True, max_steps=2
    )
    assert len(lines) == 2
    assert all(line["grad_norm"] > 0 for line in lines)
    ids = torch.tensor([[5, 6, 7]])
    score = score_ids(Scorer(model, bf16=True), ids.tolist(), chat.pad_token_id)
    head = model.get_base_model().score.modules_to_save["default"].weight
    assert head.dtype == torch.float32
    with torch.no_grad():
        state = model.get_base_model().base_model(ids).last_hidden_state[0, -1]
    torch.testing.assert_close(score, (head @ state.float()).detach())


def test_lora_trains_only_adapters_and_head(llama, tmp_path):
    path = llama
    model = new_reward_model(path, seed=0)
    before = {name: p.clone() for name, p in model.base_model.named_parameters()}
    lora = ModelConfig(model_name_or_path=str(path), use_peft=True, lora_r=4)
    model = add_lora(model, lora, "SEQ_CLS")
    train_reward(llama, tmp_path / "run", rankings(8), model=model, max_steps=2)
    after = dict(model.get_base_model().base_model.named_parameters())
    for name, weight in before.items():
        frozen = after.get(name, after.get(name.replace(".weight", ".base_layer.weight")))
        assert torch.equal(frozen, weight)
