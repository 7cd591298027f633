"""Fine-tuning: which tokens carry the loss, packing, exact resume, non-finite numbers."""

import json
import math
from contextlib import nullcontext

import pytest
import torch
import trl
from transformers import AutoConfig, TrainerState

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.models.generation.generate import sample_responses
from rlhf.models.load import load_config, load_policy
from rlhf.training.common.checkpoint import verify_checkpoint
from rlhf.training.common.weight_checks import parts_of
from rlhf.training.sft.callback import RunCallback
from rlhf.training.sft.config import SFTConfig
from rlhf.training.sft.fine_tune import IGNORED, as_dataset
from rlhf.training.sft.trl_trainer import restored_router_settings
from tests.errors import raises
from tests.tiny_models import FAMILIES, make_model
from tests.training.tiny_runs import DEMONSTRATIONS as ROWS
from tests.training.tiny_runs import tune


@pytest.mark.parametrize("family", FAMILIES)
def test_only_response_and_end_of_turn_carry_loss(tmp_path, family):
    chat = load_tokenizer(str(make_model(tmp_path, family)))
    for example, row in zip(as_dataset(chat, ROWS), ROWS, strict=True):
        learned = [token for token in example["labels"] if token != IGNORED]
        assert learned[-1] == chat.end_token_id
        assert chat.tokenizer.decode(learned[:-1]) == row.completion
        start = example["labels"].index(learned[0])
        ids = example["input_ids"]
        assert ids[start : start + len(learned)] == learned
        # What a template writes after its end of turn is read and not trained.
        assert chat.tokenizer.decode(ids[start + len(learned) :]) in ("", "\n")


def test_first_loss_is_mean_over_response_tokens(llama, tmp_path):
    """By hand from the untrained model's log-probs, over all response tokens of the batch."""
    chat = load_tokenizer(str(llama))
    model, logprobs = load_policy(llama).eval(), []
    for example in as_dataset(chat, ROWS):
        ids, labels = torch.tensor(example["input_ids"]), torch.tensor(example["labels"])
        with torch.no_grad():
            all_logprobs = model(ids[None]).logits[0, :-1].log_softmax(-1)
        trained = labels[1:] != IGNORED
        logprobs += all_logprobs[trained].gather(1, ids[1:][trained, None])[:, 0].tolist()
    keys = {"max_steps": 1, "per_device_train_batch_size": len(ROWS)}
    _, lines = tune(llama, tmp_path / "plain", packing=False, **keys)
    assert lines[0]["loss"] == pytest.approx(-sum(logprobs) / len(logprobs), rel=1e-4)
    _, packed = tune(llama, tmp_path / "packed", packing=True, **keys)
    assert packed[0]["loss"] == pytest.approx(lines[0]["loss"], rel=1e-4)
    assert packed[0]["grad_norm"] == pytest.approx(lines[0]["grad_norm"], rel=1e-3)


def test_process_without_launcher_uses_one_gpu(llama, tmp_path, monkeypatch):
    """transformers counts all GPUs, and TRL rejects more than one without a launcher."""
    settings = trl.SFTConfig.__post_init__

    def as_if_on_eight_gpus(arguments):
        settings(arguments)
        arguments._n_gpu = 8

    monkeypatch.setattr(trl.SFTConfig, "__post_init__", as_if_on_eight_gpus)
    result, _ = tune(llama, tmp_path / "run", max_steps=1)
    assert result.steps == 1


def test_resumed_equals_uninterrupted(llama, tmp_path):
    """Six steps at once, and the last three again from checkpoint-3: bit for bit."""
    keys = {"max_steps": 6, "save_steps": 3, "save_total_limit": 5, "packing": False}
    whole, _ = tune(llama, tmp_path / "run", **keys)
    checkpoint = tmp_path / "run" / "checkpoint-3"
    verify_checkpoint(checkpoint)
    again, _ = tune(llama, tmp_path / "again", resume=checkpoint, **keys)
    assert again.steps == whole.steps == 6
    for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_checkpoint_of_another_run_is_rejected(llama, tmp_path):
    """Other rows of the same number, other batches, another length; the weights stay whole."""
    keys = {"max_steps": 2, "save_steps": 1}
    tune(llama, tmp_path / "run", **keys)
    checkpoint = tmp_path / "run" / "checkpoint-1"
    for changes, name in (
        ({"rows": [*ROWS[:-1], ROWS[0]]}, "train_data of sha256"),
        ({"per_device_train_batch_size": 4}, "batch_size"),
        ({"max_steps": 5}, "total"),
    ):
        with raises("other-run", name):
            tune(llama, tmp_path / "again", resume=checkpoint, **{**keys, **changes})


def test_held_out_loss_is_measured_before_and_after(llama, tmp_path):
    result, lines = tune(llama, tmp_path / "run", held_out=ROWS[:2], max_steps=15, eval_steps=10)
    assert [line["step"] for line in lines if "eval_loss" in line] == [0, 10, 15]
    assert result.eval_loss_after < result.eval_loss_before - 0.3


def test_non_finite_loss_stops_before_the_step(llama, tmp_path):
    """transformers alone would log 0.0 and continue."""
    model = load_policy(llama)
    model.lm_head.weight.data[0, 0] = math.nan
    before = model.model.norm.weight.detach().clone()
    with raises("non-finite", "step 1"):
        tune(llama, tmp_path / "run", model=model, max_steps=2)
    assert torch.equal(model.model.norm.weight, before)
    assert not list((tmp_path / "run").glob("checkpoint-*"))


def test_settings_out_of_range_are_rejected():
    with raises("bad-value", "learning_rate=0"):
        SFTConfig(learning_rate=0.0)
    with raises("bad-value", "save_steps=-1"):
        SFTConfig(save_steps=-1)


def test_gradient_of_zero_stops_the_run(llama, tmp_path):
    model = load_policy(llama)
    for parameter in model.parameters():
        parameter.register_hook(torch.zeros_like)
    with raises("nothing-trained", "step 1", "model"):
        tune(llama, tmp_path / "run", model=model, max_steps=2)
    assert not list((tmp_path / "run").glob("checkpoint-*"))


def test_frozen_model_is_rejected(llama, tmp_path):
    """peft leaves the base frozen after it merges an adapter."""
    model = load_policy(llama).requires_grad_(False)
    with raises("nothing-trained", "model: 21 of 21"):
        tune(llama, tmp_path, model=model)


@pytest.mark.parametrize(("loss", "stops"), [(0.0, False), (0.5, True)])
def test_batch_without_trained_token_may_have_zero_gradient(llama, loss, stops):
    """TRL's loss of such a batch is 0 exactly."""
    model = load_policy(llama)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    callback = RunCallback(
        parts_of(model), None, None, None, resume=None, identity={}, on_step=print
    )  # the others are not used here
    callback.losses += [torch.tensor(0.0), torch.tensor(loss)]
    optimizer = torch.optim.AdamW(model.parameters())
    with raises("nothing-trained", "step 1") if stops else nullcontext():
        callback.on_pre_optimizer_step(None, TrainerState(), None, model=model, optimizer=optimizer)
    assert callback.losses == []


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
def test_balancing_loss_is_trained_but_not_evaluated_or_saved(tmp_path, family):
    """First training loss: nats per token + coefficient * balancing loss; held-out: nats alone."""
    path = make_model(tmp_path / "model", family)
    chat, model = load_tokenizer(str(path)), load_policy(path)
    (row,) = as_dataset(chat, ROWS[:1])
    ids, labels = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]])
    with torch.no_grad():
        out = model(ids, labels=labels, output_router_logits=True)
    coefficient = model.config.router_aux_loss_coef
    nats = float(out.loss - coefficient * out.aux_loss)
    assert coefficient * out.aux_loss > 1e-3
    result, lines = tune(
        path, tmp_path / "run", model=model, rows=ROWS[:1], held_out=ROWS[:1],
        max_steps=1, packing=False, per_device_train_batch_size=1,
    )  # fmt: skip
    assert result.eval_loss_before == pytest.approx(nats, rel=1e-5)
    assert lines[1]["loss"] == pytest.approx(float(out.loss), rel=1e-4)
    for config in (model.config, AutoConfig.from_pretrained(tmp_path / "run" / "checkpoint-1")):
        assert config.output_router_logits is False
        assert config.router_aux_loss_coef == coefficient
    responses = sample_responses(
        result.model, chat, [ROWS[0].prompt], num_responses=2, max_new_tokens=4,
        temperature=1.0, seed=0, batch_size=2,
    )  # fmt: skip
    assert len(responses[0]) == 2


def test_router_settings_are_restored_after_an_error(tmp_path):
    config = load_config(make_model(tmp_path / "model", "mixtral"))

    def fail_inside():
        with restored_router_settings(config):
            config.output_router_logits = True
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail_inside()
    assert config.output_router_logits is False


def test_model_saved_with_router_logits_can_be_sampled(tmp_path):
    """TRL saves models that way; the balancing loss of one new token fails with a cache."""
    path = make_model(tmp_path / "model", "mixtral")
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"output_router_logits": True}))
    chat = load_tokenizer(str(path))
    sample_responses(
        load_policy(path), chat, [ROWS[0].prompt], num_responses=2, max_new_tokens=4,
        temperature=1.0, seed=0, batch_size=2,
    )  # fmt: skip


def test_packing_is_rejected_where_rows_see_each_other(tmp_path):
    path = make_model(tmp_path / "model", "opt")
    with raises("unsupported", "packing=true", "OPTForCausalLM"):
        tune(path, tmp_path / "packed", max_steps=1)
    result, _ = tune(path, tmp_path / "alone", max_steps=1, packing=False)
    assert result.steps == 1
