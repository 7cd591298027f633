"""Generation settings of public models: what transformers loads and would not save."""

import json

import pytest
from transformers import AutoModelForCausalLM, GenerationConfig

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.models.generation_config import valid
from rlhf.models.load import load_policy
from rlhf.models.save import rehearse_saving, save_policy
from tests.errors import raises
from tests.tiny_models import make_model

GREEDY = {"do_sample": False, "temperature": 1.0, "top_p": 1.0, "top_k": 50}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # Vicuna, the first Llama 2: the settings of sampling, and nothing that turns it on.
        ({"temperature": 0.9, "top_p": 0.6}, {"do_sample": True, "temperature": 0.9, "top_p": 0.6}),
        # Switched off: then a temperature means nothing.
        ({"do_sample": False, "temperature": 0.7}, {"do_sample": False, "temperature": 1.0}),
        ({"do_sample": False, "temperature": 0.7, "top_p": 0.5}, GREEDY),
        # A temperature of 0 asks for greedy decoding, which do_sample would make an error.
        ({"temperature": 0.0}, {"do_sample": None, "temperature": 1.0}),
        # Beam search alone has a length penalty.
        ({"length_penalty": 2.0, "top_k": 50}, {"length_penalty": 1.0, "top_k": 50}),
        # Llama 1: no pad token.
        ({"pad_token_id": -1}, {"pad_token_id": None}),
    ],
)
def test_unsavable_settings_are_repaired_and_printed(tmp_path, capsys, settings, expected):
    base = make_model(tmp_path / "base")
    path = base / "generation_config.json"
    path.write_text(json.dumps({"eos_token_id": [1, 4], **settings}))
    model = load_policy(base)
    output = capsys.readouterr().out
    changed = [key for key, value in settings.items() if value != expected.get(key, value)]
    assert all(key in output for key in changed)
    assert ("do_sample None -> True" in output) == (expected.get("do_sample") is True)
    chat = load_tokenizer(str(base))
    rehearse_saving(model, chat)
    model.save_pretrained(tmp_path / "as_a_trainer_saves_it")
    save_policy(tmp_path / "out", model, chat)
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "out").generation_config
    defaults = GenerationConfig(temperature=1.0, top_p=1.0, top_k=50, length_penalty=1.0)
    for key, value in expected.items():
        if key == "pad_token_id":
            continue  # the tokenizer's own, by now
        saved_value = getattr(saved, key)
        assert (getattr(defaults, key) if saved_value is None else saved_value) == value, key
    assert set(saved.eos_token_id) == {1, 4}


def test_savable_settings_are_unchanged(tmp_path, capsys):
    config = GenerationConfig(do_sample=True, temperature=0.7, top_k=20, repetition_penalty=1.1)
    assert valid(config) is config
    load_policy(make_model(tmp_path / "base"))
    assert capsys.readouterr().out == ""


def test_unloadable_settings_are_rejected(tmp_path):
    base = make_model(tmp_path / "base")
    path = base / "generation_config.json"
    path.write_text(json.dumps({"num_return_sequences": 3}))
    with raises("not-a-model", "num_return_sequences"):
        load_policy(base)


def test_unsavable_configuration_is_rejected_at_the_start(tmp_path):
    """transformers keeps settings of generation out of config.json, and raises."""
    base = make_model(tmp_path / "base")
    model = load_policy(base)
    model.config.temperature = 0.5
    with raises("unsupported", "base: config.json", "temperature"):
        rehearse_saving(model, load_tokenizer(str(base)))
