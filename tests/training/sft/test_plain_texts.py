"""SFT on plain texts: the loss of every token by hand, packing, sources of both kinds, samples."""

import json

import pytest
import torch

from rlhf.data.config import DataConfig, DataOptions
from rlhf.data.tokenization.chat import prompt_ids
from rlhf.data.tokenization.texts import text_examples
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.manifest import read_manifest
from rlhf.models.config import ModelConfig
from rlhf.models.load import load_policy
from rlhf.recipes import sft
from rlhf.training.sft.config import SFTConfig
from rlhf.training.sft.end_token import end_probability
from rlhf.training.sft.trainer import SFTTrainer
from rlhf.types import Demonstration
from tests.tiny_models import FAMILIES, make_model
from tests.training.tiny_runs import assert_same_weights, tune

TEXTS = [
    "Where is the red ball? It is in the box.",
    "A cat, a dog and a bird.",
    "Please tell me a short story about the sea. " * 3,
    "The dog is in the sea.",
]
KEYS = {"max_steps": 2, "learning_rate": 1e-3, "per_device_train_batch_size": 2,
        "logging_steps": 1, "num_samples": 2, "sample_max_new_tokens": 4}  # fmt: skip


def nats_by_hand(model, sequences) -> torch.Tensor:
    """Minus the log-prob of every id after the first one of each sequence."""
    nats = []
    for sequence in sequences:
        ids = torch.tensor(sequence)
        with torch.no_grad():
            logprobs = model(ids[None]).logits[0, :-1].log_softmax(-1)
        nats.append(-logprobs.gather(1, ids[1:, None])[:, 0])
    return torch.cat(nats)


@pytest.mark.parametrize("family", FAMILIES)
def test_first_loss_is_the_mean_over_all_tokens_and_eos(tmp_path, family):
    """By hand from the untrained model, each text alone; also if packed texts share a row."""
    folder = make_model(tmp_path / "model", family)
    chat, model = load_tokenizer(str(folder)), load_policy(folder).eval()
    sequences = [
        [*chat.tokenizer(text)["input_ids"], chat.end_token_id] for text in TEXTS
    ]  # no text has more than 128 tokens
    expected = nats_by_hand(model, sequences).mean()
    keys = {"max_steps": 1, "per_device_train_batch_size": len(TEXTS), "rows": TEXTS}
    _, lines = tune(folder, tmp_path / "plain", packing=False, **keys)
    _, packed = tune(folder, tmp_path / "packed", packing=True, **keys)
    assert lines[0]["loss"] == pytest.approx(float(expected), rel=1e-4)
    assert packed[0]["loss"] == pytest.approx(float(expected), rel=1e-4)
    assert packed[0]["grad_norm"] == pytest.approx(lines[0]["grad_norm"], rel=1e-3)


def test_held_out_loss_of_split_texts_counts_each_token_once(llama):
    """max_length 16: the long text has parts that begin with one token of context."""
    chat, model = load_tokenizer(str(llama)), load_policy(llama).eval()
    parts = [part.ids for text in TEXTS for part in text_examples(chat, text, 16)]
    assert len(parts) > len(TEXTS)
    nats = nats_by_hand(model, parts)
    assert len(nats) == sum(len(chat.tokenizer(text)["input_ids"]) for text in TEXTS)
    one = trainer(llama, TEXTS, TEXTS, max_length=16, per_device_train_batch_size=len(parts))
    result = one.train()
    assert result.eval_loss_before == pytest.approx(float(nats.mean()), rel=1e-4)
    assert result.eval_loss_after < result.eval_loss_before
    expected = end_probability(one._model, chat, TEXTS, 16)
    assert result.end_probability == pytest.approx(expected, rel=1e-4)


def trainer(llama, rows, held_out=None, *, max_length=128, **keys):
    return SFTTrainer(
        ModelConfig(model_name_or_path=str(llama), bf16=False),
        rows,
        held_out,
        config=SFTConfig(**(KEYS | keys)),
        data_config=DataOptions(max_length=max_length, eval_fraction=0.25),
    )


def test_samples_continue_texts_without_a_template(llama):
    one = trainer(llama, TEXTS)
    result = one.train()
    assert all(any(text.startswith(p) for text in TEXTS) for p in result.sample_prompts)
    chat = load_tokenizer(str(llama), "none")
    (text,) = one.generate(["The dog"], max_new_tokens=1, temperature=0)
    with torch.no_grad():
        logits = one._model.eval()(torch.tensor([prompt_ids(chat, "The dog")])).logits[0, -1]
    token = int(logits.argmax())
    assert text == ("" if token in one.setup.chat.eos_token_ids else chat.tokenizer.decode([token]))


def test_sources_of_texts_and_of_demonstrations_are_mixed(llama, tmp_path):
    """Samples are then responses to the prompts of demonstrations, with the chat template."""
    texts, talk = tmp_path / "texts.jsonl", tmp_path / "talk.jsonl"
    texts.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    talk.write_text(
        "".join(json.dumps({"prompt": f"Hi {n}", "completion": "Hello."}) + "\n" for n in range(4))
    )
    one = SFTTrainer(
        ModelConfig(model_name_or_path=str(llama), bf16=False),
        config=SFTConfig(**KEYS),
        data_config=DataConfig(train_data=[str(texts), f"2*{talk}"], eval_fraction=0.25),
    )
    kinds = [type(row) for row in one.setup.rows.train]
    assert kinds.count(Demonstration) + kinds.count(str) == len(kinds)
    assert kinds.count(str) >= 1
    assert kinds.count(Demonstration) >= 2
    result = one.train()
    assert all(prompt.startswith("Hi ") for prompt in result.sample_prompts)
    assert [use.role for use in one.setup.uses][:2] == ["train", "train"]


def test_recipe_trains_on_a_file_of_texts_as_the_class_does(llama, tmp_path, monkeypatch):
    rows = tmp_path / "texts.jsonl"
    rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    words = [f"--{key}={value}" for key, value in KEYS.items()]
    words += ["--bf16=false", f"--train_data={rows}", "--max_length=32", "--eval_fraction=0.25"]
    words += [f"--model_name_or_path={llama}", f"--output_dir={tmp_path / 'run'}"]
    monkeypatch.setattr("sys.argv", ["sft.py", *words])
    sft.main()
    one = trainer(llama, TEXTS, max_length=32)
    one.train()
    assert_same_weights(load_policy(tmp_path / "run"), one._model.cpu(), rtol=0, atol=0)
    manifest = read_manifest(tmp_path / "run")
    assert [(use.role, use.rows) for use in manifest.data] == [("train", 3), ("eval", 1)]
    first = json.loads((tmp_path / "run/samples/rows.jsonl").read_text().splitlines()[0])
    assert first["trained"] == [False] + [True] * (len(first["ids"]) - 1)
