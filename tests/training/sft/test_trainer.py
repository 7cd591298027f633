"""Supervised fine-tuning: which tokens carry the loss, packing, exact resume, bad numbers."""

import json
import math
from contextlib import nullcontext

import pytest
import torch
import trl
from transformers import AutoConfig, TrainerState

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.errors import CheckpointError, ConfigError, TrainingError
from rlhf.models.config import ModelConfig
from rlhf.models.generation.generate import sample_responses
from rlhf.models.load import load_config, load_policy
from rlhf.runtime.distributed import start_processes
from rlhf.runtime.printing import quiet_logs
from rlhf.runtime.run_folder import RunConfig
from rlhf.training.common.checkpoint import verify_checkpoint
from rlhf.training.common.weight_checks import parts_of
from rlhf.training.sft.callback import RunCallback
from rlhf.training.sft.config import SFTConfig
from rlhf.training.sft.trainer import IGNORED, as_dataset, train_sft
from rlhf.training.sft.trl_trainer import router_settings_kept
from rlhf.types import Demonstration
from tests.tiny_models import FAMILIES, make_model

ROWS = [
    Demonstration(prompt=f"Where is the {thing}?", completion=f"The {thing} is in the {place}.")
    for thing in ("ball", "cat", "dog", "bird")
    for place in ("box", "sea")
]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny Llama and its tokenizer."""
    start_processes(1)
    quiet_logs()
    path = make_model(tmp_path_factory.mktemp("model"))
    return path, load_tokenizer(str(path))


def train(base, folder, *, model=None, resume=None, rows=ROWS, held_out=(), **keys):
    """The result and the lines of metrics.jsonl."""
    path, chat = base
    settings = {"learning_rate": 1e-3, "per_device_train_batch_size": 2, "logging_steps": 1}
    result = train_sft(
        model or load_policy(path),
        chat,
        rows,
        list(held_out),
        run=RunConfig(output_dir=str(folder)),
        model_config=ModelConfig(model_name_or_path=str(path), bf16=False),
        config=SFTConfig(**(settings | keys)),
        max_length=128,
        resume=resume,
    )
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return result, [json.loads(line) for line in lines]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_on_the_answer_and_its_end_of_turn_alone(tmp_path, family):
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


def test_first_loss_is_the_mean_over_answer_tokens(base, tmp_path):
    """By hand from the untouched model's log-probs, over all answer tokens of the batch."""
    path, chat = base
    model, logprobs = load_policy(path).eval(), []
    for example in as_dataset(chat, ROWS):
        ids, labels = torch.tensor(example["input_ids"]), torch.tensor(example["labels"])
        with torch.no_grad():
            all_logprobs = model(ids[None]).logits[0, :-1].log_softmax(-1)
        kept = labels[1:] != IGNORED
        logprobs += all_logprobs[kept].gather(1, ids[1:][kept, None])[:, 0].tolist()
    keys = {"max_steps": 1, "per_device_train_batch_size": len(ROWS)}
    _, lines = train(base, tmp_path / "plain", packing=False, **keys)
    assert lines[0]["loss"] == pytest.approx(-sum(logprobs) / len(logprobs), rel=1e-4)
    _, packed = train(base, tmp_path / "packed", packing=True, **keys)
    assert packed[0]["loss"] == pytest.approx(lines[0]["loss"], rel=1e-4)
    assert packed[0]["grad_norm"] == pytest.approx(lines[0]["grad_norm"], rel=1e-3)


def test_one_process_takes_one_gpu_of_many(base, tmp_path, monkeypatch):
    """transformers counts what it sees, and TRL refuses more than one without a launcher."""
    settings = trl.SFTConfig.__post_init__

    def as_if_on_eight_gpus(arguments):
        settings(arguments)
        arguments._n_gpu = 8

    monkeypatch.setattr(trl.SFTConfig, "__post_init__", as_if_on_eight_gpus)
    result, _ = train(base, tmp_path / "run", max_steps=1)
    assert result.steps == 1


def test_resumed_equals_uninterrupted(base, tmp_path):
    """Six steps at once, and the last three again from checkpoint-3: bit for bit."""
    keys = {"max_steps": 6, "save_steps": 3, "save_total_limit": 5, "packing": False}
    whole, _ = train(base, tmp_path / "run", **keys)
    checkpoint = tmp_path / "run" / "checkpoint-3"
    verify_checkpoint(checkpoint)
    again, _ = train(base, tmp_path / "again", resume=checkpoint, **keys)
    assert again.steps == whole.steps == 6
    for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_checkpoint_of_another_run_is_refused(base, tmp_path):
    """Other rows of the same number, other batches, another length; the weights stay whole."""
    keys = {"max_steps": 2, "save_steps": 1}
    train(base, tmp_path / "run", **keys)
    checkpoint = tmp_path / "run" / "checkpoint-1"
    for changes, said in (
        ({"rows": [*ROWS[:-1], ROWS[0]]}, "train_data of sha256"),
        ({"per_device_train_batch_size": 4}, "batch_size 2, this run has 4"),
        ({"max_steps": 5}, "total 2, this run has 5"),
    ):
        with pytest.raises(CheckpointError, match=said):
            train(base, tmp_path / "again", resume=checkpoint, **{**keys, **changes})


def test_held_out_loss_falls_and_is_measured_before_and_after(base, tmp_path):
    result, lines = train(base, tmp_path / "run", held_out=ROWS[:2], max_steps=15, eval_steps=10)
    assert [line["step"] for line in lines if "eval_loss" in line] == [0, 10, 15]
    assert result.eval_loss_after < result.eval_loss_before - 0.3


def test_a_loss_that_is_not_finite_stops_before_the_step(base, tmp_path):
    """transformers alone would log 0.0 and go on."""
    model = load_policy(base[0])
    model.lm_head.weight.data[0, 0] = math.nan
    before = model.model.norm.weight.detach().clone()
    with pytest.raises(TrainingError, match="step 1"):
        train(base, tmp_path / "run", model=model, max_steps=2)
    assert torch.equal(model.model.norm.weight, before)
    assert not list((tmp_path / "run").glob("checkpoint-*"))


def test_settings_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="learning_rate=0"):
        SFTConfig(learning_rate=0.0)
    with pytest.raises(ConfigError, match="save_steps=-1"):
        SFTConfig(save_steps=-1)


def test_a_gradient_that_gets_lost_stops_the_run(base, tmp_path):
    model = load_policy(base[0])
    for parameter in model.parameters():
        parameter.register_hook(torch.zeros_like)
    with pytest.raises(TrainingError, match="step 1: the gradient of the model is exactly 0"):
        train(base, tmp_path / "run", model=model, max_steps=2)
    assert not list((tmp_path / "run").glob("checkpoint-*"))


def test_a_frozen_model_is_no_run(base, tmp_path):
    """As peft leaves a base whose adapter was merged."""
    model = load_policy(base[0]).requires_grad_(False)
    with pytest.raises(TrainingError, match="model: 21 of 21 weight tensors are frozen"):
        train_sft(
            model, base[1], ROWS, [], run=RunConfig(output_dir=str(tmp_path)), resume=None,
            model_config=ModelConfig(model_name_or_path="x"), config=SFTConfig(), max_length=64,
        )  # fmt: skip


@pytest.mark.parametrize(("loss", "stops"), [(0.0, False), (0.5, True)])
def test_a_batch_without_a_trained_token_has_no_gradient_and_is_no_fault(base, loss, stops):
    """TRL's loss of such a batch is 0 exactly."""
    model = load_policy(base[0])
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    callback = RunCallback(
        parts_of(model), None, None, None, resume=None, identity={}
    )  # nothing else of it is asked here
    callback.losses += [torch.tensor(0.0), torch.tensor(loss)]
    optimizer = torch.optim.AdamW(model.parameters())
    with pytest.raises(TrainingError, match="step 1") if stops else nullcontext():
        callback.on_pre_optimizer_step(None, TrainerState(), None, model=model, optimizer=optimizer)
    assert callback.losses == []


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
def test_experts_are_balanced_in_training_and_not_in_what_is_reported_and_saved(tmp_path, family):
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
    result, lines = train(
        (path, chat), tmp_path / "run", model=model, rows=ROWS[:1], held_out=ROWS[:1],
        max_steps=1, packing=False, per_device_train_batch_size=1,
    )  # fmt: skip
    assert result.eval_loss_before == pytest.approx(nats, rel=1e-5)
    assert lines[1]["loss"] == pytest.approx(float(out.loss), rel=1e-4)
    for config in (model.config, AutoConfig.from_pretrained(tmp_path / "run" / "checkpoint-1")):
        assert config.output_router_logits is False
        assert config.router_aux_loss_coef == coefficient
    answers = sample_responses(
        result.model, chat, [ROWS[0].prompt], num_responses=2, max_new_tokens=4,
        temperature=1.0, seed=0, batch_size=2,
    )  # fmt: skip
    assert len(answers[0]) == 2


def test_router_settings_come_back_after_an_error_too(tmp_path):
    config = load_config(make_model(tmp_path / "model", "mixtral"))

    def fail_inside():
        with router_settings_kept(config):
            config.output_router_logits = True
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail_inside()
    assert config.output_router_logits is False


def test_a_saved_model_that_asks_for_router_logits_answers_all_the_same(tmp_path):
    """As TRL's trainer leaves its models: the balancing loss of one new token fails on a cache."""
    path = make_model(tmp_path / "model", "mixtral")
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"output_router_logits": True}))
    chat = load_tokenizer(str(path))
    sample_responses(
        load_policy(path), chat, [ROWS[0].prompt], num_responses=2, max_new_tokens=4,
        temperature=1.0, seed=0, batch_size=2,
    )  # fmt: skip


def test_rows_that_would_see_each_other_are_not_packed(tmp_path):
    path = make_model(tmp_path / "model", "opt")
    base = path, load_tokenizer(str(path))
    with pytest.raises(ConfigError, match=r"OPTForCausalLM .* lets packed rows see each other"):
        train(base, tmp_path / "packed", max_steps=1)
    result, _ = train(base, tmp_path / "alone", max_steps=1, packing=False)
    assert result.steps == 1
