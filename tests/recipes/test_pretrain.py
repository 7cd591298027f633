"""The pretraining recipe, and the shipped model that it trained."""

from pathlib import Path
from random import Random

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from recipes import pretrain
from recipes.pocket.pretrain_config import PretrainConfig, schedule
from recipes.pocket.pretrain_loss import response_logprobs
from recipes.pocket.pretrain_text import rows_of_documents
from recipes.pocket.world.scenes import grounded_item
from tests.errors import raises

MODEL = Path(__file__).resolve().parents[2] / "data" / "pocket" / "model"


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(MODEL)


@pytest.fixture
def tiny(tmp_path, monkeypatch, tokenizer):
    """A configuration of four quick steps, without tokenizer training and evaluation."""
    monkeypatch.setattr(pretrain, "train_tokenizer", lambda config: tokenizer)
    monkeypatch.setattr(pretrain, "evaluate", lambda *args: {"eval_loss": 0.0})
    return PretrainConfig(
        output_dir=str(tmp_path / "run"),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        row_lengths=[64, 128],
        refrain_steps=1,
        drill_steps=1,
        tokens_per_step=128,
        max_steps=4,
        warmup_steps=2,
        save_steps=2,
        bf16=False,
        threads=1,
    )


def weights(folder):
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


def test_resumed_equals_uninterrupted(tiny, tmp_path, monkeypatch):
    pretrain.train(tiny)
    expected = weights(tiny.output_dir)
    tiny.output_dir = str(tmp_path / "again")
    with monkeypatch.context() as patch:
        patch.setattr(pretrain, "steps", lambda config, start: [(0, False), (1, False)])
        pretrain.train(tiny)
    tiny.resume_from_checkpoint = "latest"
    pretrain.train(tiny)
    for name, weight in weights(tiny.output_dir).items():
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=0)


def test_folder_with_a_run_is_rejected(tiny):
    pretrain.train(tiny)
    with raises("run-exists", "output_dir"):
        pretrain.train(tiny)


def test_non_finite_loss_names_the_step(tiny, monkeypatch):
    monkeypatch.setattr(
        pretrain, "mean_next_token_loss", lambda *args, **keys: torch.tensor(float("nan"))
    )
    with raises("non-finite", "step 0", "nan", "learning_rate"):
        pretrain.train(tiny)


def test_rows_are_whole_documents(tiny, tokenizer):
    """Each row starts with a document and ends with an EOS, followed only by padding."""
    rows = rows_of_documents(tokenizer, tiny, 0, 64)
    assert rows.shape == (2, 64)
    for row in rows.tolist():
        ids = [i for i in row if i != tokenizer.pad_token_id]
        assert row[: len(ids)] == ids
        assert ids[-1] == tokenizer.eos_token_id


def test_schedule_warms_up_and_decays():
    """Ten steps with two of warm-up and four of decay: 1/2, then 1, then 4/4 … 1/4."""
    config = PretrainConfig(max_steps=10, warmup_steps=2, decay_fraction=0.4)
    shares = [schedule(config, step) for step in range(10)]
    assert shares == [0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25]


def test_shipped_files_are_small():
    assert sum(file.stat().st_size for file in MODEL.iterdir()) <= 8_000_000


def test_shipped_tokenizer_round_trips_and_renders_chats(tokenizer):
    text = "Tom has a réd key ☃."
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    lines = "\n Tom\n\nAnn has\n"
    assert tokenizer.decode(tokenizer(lines)["input_ids"]) == lines
    assert tokenizer("Tom")["input_ids"] == tokenizer("Ann\nTom")["input_ids"][-1:]
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert tokenizer.bos_token is None
    messages = [
        {"role": "user", "content": "Who?"},
        {"role": "assistant", "content": "Tom."},
    ]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False)
    assert rendered == "<|user|>Who?<|end|><|assistant|>Tom.<|end|>"
    prompt = tokenizer.apply_chat_template(messages[:1], tokenize=False, add_generation_prompt=True)
    assert prompt == "<|user|>Who?<|end|><|assistant|>"
    masked = tokenizer.apply_chat_template(
        messages, return_dict=True, return_assistant_tokens_mask=True
    )
    response = [
        i
        for i, in_response in zip(masked["input_ids"], masked["assistant_masks"], strict=True)
        if in_response
    ]
    assert tokenizer.decode(response) == "Tom.<|end|>"


def test_shipped_model_prefers_right_responses(tokenizer):
    """In four of five scenes the right response is more likely than one with a wrong word."""
    model, rng = AutoModelForCausalLM.from_pretrained(MODEL), Random(7)
    wins = 0
    for item in (grounded_item(rng) for _ in range(50)):
        responses = [item.right, item.wrong]
        right, wrong = response_logprobs(model, tokenizer, item.prompt, responses)
        wins += right > wrong
    assert wins >= 40
