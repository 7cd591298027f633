"""LoRA folders: what is trained after loading one, on which base, with which vocabulary."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlhf.chat.loading import load_chat_model
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.labels.candidates import sampling_tokenizer
from rlhf.manifest import Manifest, read_manifest, write_manifest
from rlhf.models.compatibility import check_input_model
from rlhf.models.critic import fresh_critic
from rlhf.models.lineage import MERGED_BASE, check_base, weights_of
from rlhf.models.load import load_config, load_policy, new_reward_model
from rlhf.models.merge import merge
from rlhf.models.save import save_policy
from rlhf.training.common.provenance import stage_manifest
from tests.errors import raises
from tests.tiny_models import make_model

IDS = torch.tensor([[5, 9, 12, 7]])
LORA = {"task_type": "CAUSAL_LM", "r": 4, "init_lora_weights": False}


def make_adapter(base: Path, folder: Path) -> Path:
    """An adapter on `base` that already does something, with its manifest."""
    torch.manual_seed(0)
    chat = load_tokenizer(str(base))
    lora = LoraConfig(target_modules="all-linear", **LORA)
    save_policy(folder, get_peft_model(load_policy(base), lora), chat)
    write_manifest(folder, manifest_of(folder, base))
    return folder


def manifest_of(folder: Path, base: Path) -> Manifest:
    return stage_manifest(
        folder,
        stage="sft",
        base_model=str(base),
        chat=load_tokenizer(str(base)),
        seed=0,
        world_size=1,
        data=[],
        configs=[],
    )


@pytest.fixture
def base(tmp_path):
    return make_model(tmp_path / "base")


@pytest.fixture
def adapter(base, tmp_path):
    return make_adapter(base, tmp_path / "adapter")


def test_all_weights_of_a_loaded_lora_folder_are_trainable(adapter):
    """Two layers of 9 tensors, embeddings, output layer and last norm: 21; a head instead: 21."""
    for model, tensors in (
        (load_policy(adapter), 21),
        (new_reward_model(adapter, seed=0), 21),
        (fresh_critic(adapter, seed=0), 22),
    ):
        assert sum(p.requires_grad for p in model.parameters()) == tensors
        assert len(list(model.parameters())) == tensors


def test_reward_model_on_lora_folder_names_that_folder(adapter):
    """Its own adapter would else name the model below the folder as its base."""
    assert new_reward_model(adapter, seed=0).name_or_path == str(adapter)


@pytest.mark.parametrize(
    "load",
    [
        load_policy,
        check_input_model,
        lambda folder: load_chat_model(str(folder)),
        lambda folder: merge(folder, folder.parent / "merged"),
        lambda folder: sampling_tokenizer(str(folder), "auto", 8),
        lambda folder: new_reward_model(folder, seed=0),
    ],
    ids=["load_policy", "check_input_model", "chat", "merge", "sample", "reward_model"],
)
def test_adapter_on_a_replaced_base_is_rejected(base, adapter, load):
    load(adapter)
    shutil.rmtree(adapter.parent / "merged", ignore_errors=True)
    make_model(base, seed=1)
    with raises("base-mismatch", "base", "--base"):
        load(adapter)


def test_other_folder_as_base_is_checked(base, adapter, tmp_path):
    expected = load_policy(adapter)(IDS).logits
    same, other = shutil.copytree(base, tmp_path / "same"), make_model(tmp_path / "o", seed=1)
    shutil.rmtree(base)
    for load in (
        lambda base: load_policy(adapter, base=str(base)),
        lambda base: load_chat_model(str(adapter), base=str(base)).model,
        lambda base: load_policy(merged_on(adapter, base)),
    ):
        torch.testing.assert_close(load(same)(IDS).logits, expected, atol=1e-5, rtol=1e-5)
        with raises("base-mismatch"):
            load(other)


def merged_on(adapter: Path, base: Path) -> Path:
    output = adapter.parent / f"merged-on-{base.name}"
    merge(adapter, output, str(base))
    return output


def test_checkpoint_is_checked_by_its_runs_manifest(base, adapter):
    checkpoint = adapter / "checkpoint-3"
    checkpoint.mkdir()
    for path in adapter.iterdir():
        if path.is_file() and path.name != "manifest.json":
            shutil.copy(path, checkpoint)
    check_base(checkpoint, base)
    make_model(base, seed=1)
    with raises("base-mismatch"):
        load_policy(checkpoint)


def test_adapter_without_manifest_is_not_checked(base, adapter):
    (adapter / "manifest.json").unlink()
    make_model(base, seed=1)
    load_policy(adapter)


def test_merged_base_is_accepted_for_its_lora_folder(base, adapter, tmp_path):
    """As long as its own weights are those that its manifest speaks of."""
    merged = tmp_path / "run" / MERGED_BASE
    merge(adapter, merged)
    made = replace(manifest_of(merged, base), stage=MERGED_BASE, base_model=str(adapter))
    write_manifest(merged, replace(made, base_model_sha256=weights_of(adapter)))
    second = make_adapter(merged, tmp_path / "run" / "second")
    manifest = read_manifest(second)
    write_manifest(second, replace(manifest, base_model_sha256=weights_of(adapter)))
    load_policy(second)
    shutil.copy(base / "model.safetensors", merged)
    with raises("altered-model", merged, "weights"):
        load_policy(second)


def with_added_tokens(base: Path, folder: Path, **lora) -> torch.Tensor:
    """An adapter with two more tokens, as other trainers leave it; its logits of the last one."""
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(base),
        AutoTokenizer.from_pretrained(base),
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|turn|>", "<|done|>"]})
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    torch.manual_seed(0)
    wrapped = get_peft_model(model, LoraConfig(**LORA, **lora))
    for name, parameter in wrapped.named_parameters():
        if "modules_to_save" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    wrapped.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with torch.no_grad():
        return wrapped.eval()(torch.tensor([[5, 9, len(tokenizer) - 1]])).logits


@pytest.mark.parametrize("family", ["llama", "gemma"])  # untied and tied embeddings
@pytest.mark.parametrize(
    "lora",
    [
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
        {"target_modules": ["q_proj", "embed_tokens", "lm_head"]},
    ],
    ids=["both_saved", "output_saved", "lora_on_both"],
)
def test_adapter_with_added_tokens_loads_and_merges(tmp_path, family, lora):
    """340 tokens below, 342 with the adapter's; plain transformers gives peft's logits."""
    base = make_model(tmp_path / "base", family)
    wanted = with_added_tokens(base, tmp_path / "adapter", **lora)
    assert load_config(base).vocab_size == wanted.shape[-1] - 2
    assert load_config(tmp_path / "adapter").vocab_size == wanted.shape[-1]
    check = load_chat_model(str(tmp_path / "adapter"))
    assert check.model.get_input_embeddings().weight.shape[0] == wanted.shape[-1]
    merge(tmp_path / "adapter", tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    with torch.no_grad():
        logits = merged(torch.tensor([[5, 9, wanted.shape[-1] - 1]])).logits
    torch.testing.assert_close(logits, wanted, atol=1e-4, rtol=1e-4)


def test_adapter_of_other_shape_is_rejected(adapter, base):
    """The first line of torch's error ends before it says what does not fit."""
    (adapter / "manifest.json").unlink()
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"r": 2}))
    with raises("not-a-model", adapter, "lora_A", "torch.Size([4, 32])"):
        load_policy(adapter)


def test_error_of_missing_base_names_its_adapter(adapter, base):
    shutil.rmtree(base)
    with raises("missing-file", "base"):
        load_policy(adapter)
