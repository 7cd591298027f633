"""The pretraining recipe, and the model that it made."""

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
from rlhf.errors import ConfigError, TrainingError

MODEL = Path(__file__).resolve().parents[2] / "data" / "pocket" / "model"


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(MODEL)


@pytest.fixture
def tiny(tmp_path, monkeypatch, tokenizer):
    """A configuration of four quick steps, without the tokenizer's and the evaluation's time."""
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
    whole = weights(tiny.output_dir)
    tiny.output_dir = str(tmp_path / "again")
    with monkeypatch.context() as patch:
        patch.setattr(pretrain, "steps", lambda config, start: [(0, False), (1, False)])
        pretrain.train(tiny)
    tiny.resume_from_checkpoint = "latest"
    pretrain.train(tiny)
    for name, weight in weights(tiny.output_dir).items():
        torch.testing.assert_close(weight, whole[name], rtol=0, atol=0)


def test_a_folder_with_a_run_is_refused(tiny):
    pretrain.train(tiny)
    with pytest.raises(ConfigError, match="holds a run"):
        pretrain.train(tiny)


def test_non_finite_loss_names_the_step(tiny, monkeypatch):
    monkeypatch.setattr(
        pretrain, "mean_next_token_loss", lambda *args, **keys: torch.tensor(float("nan"))
    )
    with pytest.raises(TrainingError, match="loss of step 0 is nan"):
        pretrain.train(tiny)


def test_rows_are_whole_documents(tiny, tokenizer):
    """Each row begins with a document and ends with an EOS, but for the padding behind it."""
    rows = rows_of_documents(tokenizer, tiny, 0, 64)
    assert rows.shape == (2, 64)
    for row in rows.tolist():
        kept = [i for i in row if i != tokenizer.pad_token_id]
        assert row[: len(kept)] == kept
        assert kept[-1] == tokenizer.eos_token_id


def test_schedule():
    """Ten steps, two of warm-up, the last four decay: half, then 1, then 4/4 … 1/4."""
    config = PretrainConfig(max_steps=10, warmup_steps=2, decay_fraction=0.4)
    shares = [schedule(config, step) for step in range(10)]
    assert shares == [0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25]


def test_shipped_files_are_small():
    assert sum(file.stat().st_size for file in MODEL.iterdir()) <= 8_000_000


def test_shipped_tokenizer(tokenizer):
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
    opened = tokenizer.apply_chat_template(messages[:1], tokenize=False, add_generation_prompt=True)
    assert opened == "<|user|>Who?<|end|><|assistant|>"
    masked = tokenizer.apply_chat_template(
        messages, return_dict=True, return_assistant_tokens_mask=True
    )
    answer = [
        i for i, own in zip(masked["input_ids"], masked["assistant_masks"], strict=True) if own
    ]
    assert tokenizer.decode(answer) == "Tom.<|end|>"


def test_shipped_model_looks_things_up(tokenizer):
    """In four scenes of five the right answer is likelier than one with another word in it."""
    model, rng = AutoModelForCausalLM.from_pretrained(MODEL), Random(7)
    wins = 0
    for item in (grounded_item(rng) for _ in range(50)):
        answers = [item.right, item.wrong]
        right, wrong = response_logprobs(model, tokenizer, item.prompt, answers)
        wins += right > wrong
    assert wins >= 40
