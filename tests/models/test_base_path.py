"""A LoRA adapter's base that was named by a relative path, read from another directory."""

import json
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM

from rlhf.chat.loading import BaseNeeded, load_chat_model
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.errors import CheckpointError
from rlhf.manifest import (
    Manifest,
    hash_chat_template,
    hash_tokenizer,
    hash_weights,
    write_manifest,
)
from rlhf.models.load import load_config, load_policy
from rlhf.models.merge import merge
from rlhf.models.save import save_policy
from tests.errors import raises
from tests.models.test_load_save import with_lora
from tests.tiny_models import make_model


@pytest.fixture
def adapter(tmp_path, monkeypatch):
    """Made in tmp_path on `models/base`; the test then works in another directory."""
    make_model(tmp_path / "models" / "base")
    monkeypatch.chdir(tmp_path)
    model = with_lora(load_policy("models/base"), "models/base", "CAUSAL_LM")
    save_policy(tmp_path / "runs" / "lora", model, load_tokenizer("models/base"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "runs" / "lora"


def test_base_path_is_absolute(adapter, tmp_path):
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tmp_path / "models" / "base")
    ids = torch.arange(10)[None]
    plain = AutoModelForCausalLM.from_pretrained(adapter)
    torch.testing.assert_close(load_policy(adapter)(ids).logits, plain(ids).logits)


@pytest.mark.parametrize("named", ["models/base", "./base", "/models/base", "a/b/c", ""])
def test_missing_base_is_never_looked_up_on_the_hub(adapter, tmp_path, named):
    """`models/base` looks like a hub id; the manifest tells that it was a folder."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = named
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    write_manifest(adapter, manifest(adapter, named))
    shutil.rmtree(tmp_path / "models")
    tasks = [load_policy, load_config, lambda path: merge(path, tmp_path / "out")]
    for task in tasks:
        with raises("missing-file", adapter, named, "adapter_config.json", "--base"):
            task(adapter)
    with pytest.raises(BaseNeeded):
        load_chat_model(str(adapter))


def test_error_of_base_names_its_adapter(adapter, tmp_path):
    (tmp_path / "models" / "base" / "config.json").write_text("{}")
    with pytest.raises(CheckpointError) as caught:
        load_policy(adapter)
    base = tmp_path / "models" / "base"
    assert str(caught.value).startswith(f"{adapter} is a LoRA adapter on {base}, {base} does not")


def manifest(folder, base):
    return Manifest(
        stage="sft",
        base_model=base,
        base_model_sha256="",
        weights_sha256=hash_weights(folder),
        tokenizer_sha256=hash_tokenizer(folder),
        chat_template_sha256=hash_chat_template(folder),
        chat_template_source="tokenizer",
        pad_token_id=0,
        eos_token_ids=(1,),
        seed=0,
        world_size=1,
        built_on={base: "0"},
    )
