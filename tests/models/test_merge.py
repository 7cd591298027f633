"""One model out of an adapter and its base: the same logits, and a manifest that fits it."""

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.manifest import (
    Manifest,
    check_folder,
    hash_chat_template,
    hash_tokenizer,
    hash_weights,
    read_manifest,
    write_manifest,
)
from rlhf.models.load import load_policy
from rlhf.models.merge import merge
from rlhf.models.save import save_policy
from tests.errors import raises
from tests.tiny_models import make_model


@pytest.fixture(scope="module")
def adapter(tmp_path_factory) -> Path:
    base = make_model(tmp_path_factory.mktemp("models") / "base")
    folder = base.parent / "adapter"
    torch.manual_seed(0)
    lora = LoraConfig(
        task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=False
    )
    chat = load_tokenizer(str(base))
    save_policy(folder, get_peft_model(load_policy(base), lora), chat)
    manifest = Manifest(
        stage="sft",
        base_model=str(base),
        base_model_sha256=hash_weights(base),
        weights_sha256=hash_weights(folder),
        tokenizer_sha256=hash_tokenizer(folder),
        chat_template_sha256=hash_chat_template(folder),
        chat_template_source=chat.template_source,
        pad_token_id=chat.pad_token_id,
        eos_token_ids=chat.eos_token_ids,
        seed=0,
        world_size=1,
    )
    write_manifest(folder, manifest)
    return folder


def test_merged_model_has_the_logits_of_the_adapter(adapter, tmp_path):
    merge(adapter, tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        ours, base = merged(ids).logits, load_policy(adapter.parent / "base")(ids).logits
        torch.testing.assert_close(ours, load_policy(adapter)(ids).logits, atol=1e-5, rtol=1e-5)
    assert (ours - base).abs().max() > 0.01
    assert not (tmp_path / "merged" / "adapter_config.json").exists()


def test_manifest_of_merged_model_matches_its_files(adapter, tmp_path):
    merge(adapter, tmp_path / "merged")
    manifest = read_manifest(tmp_path / "merged")
    assert manifest is not None
    check_folder(tmp_path / "merged", manifest)
    assert list(manifest.built_on) == [str(adapter)]
    assert (manifest.stage, manifest.eos_token_ids) == ("sft", (4, 1))


def test_unmergeable_folders_are_rejected(adapter, tmp_path):
    with raises("not-a-model", "adapter_config.json"):
        merge(adapter.parent / "base", tmp_path / "merged")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    with raises("run-exists"):
        merge(adapter, tmp_path / "full")
