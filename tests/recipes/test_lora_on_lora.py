"""Runs that start from a LoRA folder, with a further adapter or with full training."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from rlhf.models.load import load_policy
from rlhf.models.merge import merge
from tests.errors import raises
from tests.recipes.two_steps import make_data, recipe_args, run_in_process
from tests.tiny_models import make_model

IDS = torch.tensor([[5, 9, 12, 7]])
LORA = {"use_peft": True, "lora_r": 4, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def sft(root, data, tmp_path_factory):
    """The folder of an SFT run with LoRA."""
    folder = tmp_path_factory.mktemp("models")
    base, monkeypatch = make_model(folder / "base", "qwen2"), pytest.MonkeyPatch()
    run_in_process(root, monkeypatch, "sft", recipe_args("sft", data, base, folder / "sft", **LORA))
    monkeypatch.undo()
    return folder / "sft"


def base_of(adapter: Path) -> Path:
    return Path(
        json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
    )


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits


def max_differences(before, after) -> dict[str, float]:
    """The largest difference of each weight."""
    old, new = before.state_dict(), after.state_dict()
    return {name: float((new[name] - old[name]).abs().max()) for name in old}


def test_sft_adapter_has_the_absolute_path_of_its_base(sft, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert base_of(sft) == sft.parent / "base"
    torch.testing.assert_close(
        logits(AutoModelForCausalLM.from_pretrained(sft)), logits(load_policy(sft))
    )


def test_adapter_on_an_adapter_loads_with_plain_transformers(
    root, data, sft, tmp_path, monkeypatch
):
    """Its base is the merged first adapter, also for its checkpoints."""
    out = tmp_path / "out"
    arguments = recipe_args("sft", data, sft, out, **LORA)
    run_in_process(root, monkeypatch, "sft", arguments)
    assert base_of(out) == base_of(out / "checkpoint-2") == out / "merged_base"
    plain_logits = logits(AutoModelForCausalLM.from_pretrained(out))
    torch.testing.assert_close(plain_logits, logits(load_policy(out)), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        logits(AutoModelForCausalLM.from_pretrained(out / "merged_base")), logits(load_policy(sft))
    )
    assert (plain_logits - logits(load_policy(sft))).abs().max() > 1e-3
    merge(out, tmp_path / "merged")
    torch.testing.assert_close(
        logits(AutoModelForCausalLM.from_pretrained(tmp_path / "merged")), plain_logits,
        atol=1e-5, rtol=1e-5,
    )  # fmt: skip
    moved = out.rename(tmp_path / "moved")
    torch.testing.assert_close(logits(load_policy(moved)), plain_logits, atol=1e-5, rtol=1e-5)


def test_resume_is_rejected_after_the_lora_base_changed(root, data, sft, tmp_path, monkeypatch):
    copy, out = shutil.copytree(sft, tmp_path / "sft"), tmp_path / "out"
    arguments = recipe_args("sft", data, copy, out, **LORA)
    run_in_process(root, monkeypatch, "sft", arguments)
    for name in ("manifest.json", "config.yaml"):
        (copy / name).unlink()
    weights = copy / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"abcd")
    with raises("base-mismatch", "merged_base"):
        run_in_process(root, monkeypatch, "sft", [*arguments, "--resume_from_checkpoint=latest"])


def test_lora_reward_model_and_ppo_share_the_merged_backbone(
    root, data, sft, tmp_path, monkeypatch, capsys
):
    reward, ppo = tmp_path / "reward_model", tmp_path / "ppo"
    run_in_process(
        root, monkeypatch, "reward_model", recipe_args("reward_model", data, sft, reward, **LORA)
    )
    adapter = reward / "adapter"
    assert base_of(adapter) == reward / "merged_base"
    trunk = AutoModelForSequenceClassification.from_pretrained(base_of(adapter), num_labels=1)
    full_model = AutoModelForSequenceClassification.from_pretrained(reward, num_labels=1)
    trunk.config.pad_token_id = full_model.config.pad_token_id
    torch.testing.assert_close(
        logits(PeftModel.from_pretrained(trunk, adapter)), logits(full_model), atol=1e-5, rtol=1e-5
    )
    capsys.readouterr()
    keys = {"mode": "lora", "lora_r": 4, "reward": reward, "learning_rate": 1e-2}
    run_in_process(root, monkeypatch, "ppo", recipe_args("ppo", data, sft, ppo, **keys))
    assert "is an adapter of the same backbone" in capsys.readouterr().out
    for folder in (ppo, ppo / "checkpoint-2"):
        torch.testing.assert_close(
            logits(AutoModelForCausalLM.from_pretrained(folder)),
            logits(load_policy(folder)), atol=1e-5, rtol=1e-5,
        )  # fmt: skip
    resumed = recipe_args(
        "ppo", data, sft, ppo, **keys, resume_from_checkpoint=ppo / "checkpoint-1"
    )
    shutil.rmtree(ppo / "checkpoint-2")
    before = load_file(ppo / "adapter_model.safetensors")
    run_in_process(root, monkeypatch, "ppo", resumed)
    after = load_file(ppo / "adapter_model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("recipe", "extra"),
    [
        ("sft", {}),
        ("reward_model", {"gradient_checkpointing": True}),
        ("ppo", {"gradient_checkpointing": True}),
        ("ppo", {"mode": "shared_trunk"}),
        ("ppo", {"advantage": "rloo", "num_generations": 2}),
    ],
)
def test_full_training_on_a_lora_folder_changes_all_weights(
    root, data, sft, tmp_path, monkeypatch, recipe, extra
):
    """In PPO the responses have only two tokens, but these change rows of the embeddings too."""
    reward = tmp_path / "reward.py"
    reward.write_text(
        "def length(prompts, completions):\n    return [len(c) for c in completions]\n"
    )
    keys = {"learning_rate": 1e-3, **extra}
    if recipe == "ppo":
        keys["reward"] = f"{reward}:length"
    run_in_process(
        root, monkeypatch, recipe, recipe_args(recipe, data, sft, tmp_path / "out", **keys)
    )
    model_class = (
        AutoModelForSequenceClassification if recipe == "reward_model" else AutoModelForCausalLM
    )
    trained = model_class.from_pretrained(tmp_path / "out").base_model
    assert min(max_differences(load_policy(sft).base_model, trained).values()) > 1e-5
