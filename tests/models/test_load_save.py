"""Models go out and come back: plain transformers loads them, adapters merge, bad folders speak."""

import json

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from rlhf.data.tokenization.chat import sequence_ids
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.models.config import ModelConfig
from rlhf.models.load import load_policy, load_reward_model, new_reward_model, reward_scale
from rlhf.models.lora import add_lora
from rlhf.models.save import merge_reward_model, save_policy, save_reward_model
from rlhf.models.scorer import Scorer, score_ids
from tests.errors import raises
from tests.tiny_models import FAMILIES, make_model


def with_lora(model, path, task):
    """The model in LoRA adapters that already do something."""
    torch.manual_seed(1)
    wrapped = add_lora(model, ModelConfig(model_name_or_path=str(path), use_peft=True), task)
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return wrapped


@pytest.mark.parametrize("family", FAMILIES)
def test_policy_saves_and_loads_with_plain_transformers(tmp_path, family):
    path = make_model(tmp_path / "base", family)
    chat = load_tokenizer(str(path))
    policy = load_policy(path)
    save_policy(tmp_path / "out", policy, chat)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    ids = torch.tensor([sequence_ids(chat, "Where is it?", "In the box.")])
    torch.testing.assert_close(plain(ids).logits, policy(ids).logits)
    assert plain.generation_config.eos_token_id == list(chat.eos_token_ids)
    again = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert again.chat_template == chat.tokenizer.chat_template
    assert again.pad_token_id == chat.pad_token_id


def test_dropout_is_zero_in_all_families(tmp_path):
    """GPT-NeoX has it in its configuration: 0.1 in the file, 0 once loaded."""
    path = make_model(tmp_path / "base", "gpt_neox")
    model = load_policy(path).train()
    assert {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)} == {0.0}
    ids = torch.arange(20)[None]
    assert torch.equal(model(ids).logits, model(ids).logits)


def test_raw_prompts_are_saved_without_a_template(tmp_path):
    path = make_model(tmp_path / "base", "llama")
    chat = load_tokenizer(str(path), "none")
    save_policy(tmp_path / "out", load_policy(path), chat)
    assert not (tmp_path / "out" / "chat_template.jinja").exists()


def test_lora_policy_is_saved_as_adapter_and_loads_merged(tmp_path):
    """Saved small, loaded as one model: the same logits as base and adapter together."""
    path = make_model(tmp_path / "base")
    chat = load_tokenizer(str(path))
    wrapped = with_lora(load_policy(path), path, "CAUSAL_LM")
    ids = torch.tensor([sequence_ids(chat, "Where is it?", "In the box.")])
    expected = wrapped(ids).logits.detach()
    save_policy(tmp_path / "out", wrapped, chat)
    assert not (tmp_path / "out" / "config.json").exists()
    merged = load_policy(tmp_path / "out")
    assert not isinstance(merged, PeftModel)
    torch.testing.assert_close(merged(ids).logits, expected, atol=1e-5, rtol=1e-5)


def test_adapter_on_adapter_loads_both(tmp_path):
    path = make_model(tmp_path / "base")
    chat = load_tokenizer(str(path))
    save_policy(tmp_path / "one", with_lora(load_policy(path), path, "CAUSAL_LM"), chat)
    first = load_policy(tmp_path / "one")
    second = with_lora(first, tmp_path / "one", "CAUSAL_LM")
    ids = torch.arange(20)[None]
    expected = second(ids).logits.detach()
    save_policy(tmp_path / "two", second, chat)
    merged = load_policy(tmp_path / "two")
    torch.testing.assert_close(merged(ids).logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_reward_model_equals_plain_transformers_logits(tmp_path, family):
    """Unmasked right-padded rows here, a masked padded batch there: equal to 1e-5."""
    path = make_model(tmp_path / "base", family)
    chat = load_tokenizer(str(path))
    model = new_reward_model(path, seed=3)
    save_reward_model(tmp_path / "out", model, chat, 0.5, 2.0)
    rows = [
        sequence_ids(chat, "Where is it?", text)
        for text in ("In the box.", "A dog.", "I see a cat")
    ]
    ours = score_ids(Scorer(load_reward_model(tmp_path / "out"), bf16=False), rows, 0)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out", num_labels=1)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    batch = tokenizer.pad({"input_ids": rows}, padding_side="right", return_tensors="pt")
    theirs = plain(**batch).logits[:, 0].detach()
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert reward_scale(plain) == (0.5, 2.0)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["pad_token_id"] not in chat.eos_token_ids


def test_fresh_head_has_published_std(tmp_path):
    """std 1/√(D+1) with D = 32: 0.174; two ranks with one seed get one head."""
    path = make_model(tmp_path / "base")
    weight = new_reward_model(path, seed=3).score.weight
    assert weight.std().item() == pytest.approx(0.174, rel=0.3)
    assert torch.equal(weight, new_reward_model(path, seed=3).score.weight)
    assert not torch.equal(weight, new_reward_model(path, seed=4).score.weight)


def test_lora_reward_model_is_saved_merged_with_adapter(tmp_path):
    path = make_model(tmp_path / "base")
    chat = load_tokenizer(str(path))
    wrapped = with_lora(new_reward_model(path, seed=0), path, "SEQ_CLS")
    rows = [sequence_ids(chat, "Where is it?", "In the box.")]
    expected = score_ids(Scorer(wrapped, bf16=False), rows, chat.pad_token_id)
    merged = merge_reward_model(wrapped, tmp_path / "out" / "adapter")
    save_reward_model(tmp_path / "out", merged, chat, 0.0, 1.0)
    loaded = score_ids(
        Scorer(load_reward_model(tmp_path / "out"), bf16=False), rows, chat.pad_token_id
    )
    torch.testing.assert_close(loaded, expected, atol=1e-5, rtol=1e-5)
    assert (tmp_path / "out" / "adapter" / "adapter_config.json").is_file()


def test_reward_model_starts_from_merged_lora_policy(tmp_path):
    path = make_model(tmp_path / "base")
    chat = load_tokenizer(str(path))
    save_policy(tmp_path / "sft", with_lora(load_policy(path), path, "CAUSAL_LM"), chat)
    model = new_reward_model(tmp_path / "sft", seed=0)
    trunk = load_policy(tmp_path / "sft").base_model
    for name, weight in trunk.state_dict().items():
        torch.testing.assert_close(model.base_model.state_dict()[name], weight)


def test_language_model_is_rejected_as_reward_model(tmp_path):
    path = make_model(tmp_path / "base")
    with raises("not-a-model"):
        load_reward_model(path)


@pytest.mark.parametrize("path", ["/nowhere/at/all", "runs/nothing/here"])
def test_missing_folder_is_rejected(path):
    with raises("missing-file"):
        load_policy(path)


def test_unknown_lora_layers_are_rejected(tmp_path):
    path = make_model(tmp_path / "base")
    config = ModelConfig(model_name_or_path="x", use_peft=True, lora_target_modules=["nothing"])
    with raises("bad-value", "nothing"):
        add_lora(load_policy(path), config, "CAUSAL_LM")


def test_keys_without_effect_are_rejected():
    with raises("key-conflict", "use_peft"):
        ModelConfig(model_name_or_path="x", load_in_4bit=True)
    with raises("key-conflict", "use_peft"):
        ModelConfig(model_name_or_path="x", lora_target_modules=["q_proj"])
