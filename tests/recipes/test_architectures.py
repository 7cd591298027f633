"""The recipes on four architectures: two steps of each stage, on one process and on two."""

import json
import runpy
import sys

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import FAMILIES, make_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from rlhf.launcher import launch
from rlhf.manifest import check_folder, read_manifest

THINGS = ("ball", "cat", "dog", "bird", "box", "sea", "story", "animal")


def write_rows(path, rows):
    """A JSONL file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Demonstrations, rankings and prompts."""
    folder = tmp_path_factory.mktemp("data")
    prompts = [f"Where is the {thing}?" for thing in THINGS]
    answers = [[f"In the {other}." for other in THINGS[:k]] for k in (2, 3, 4, 2, 3, 4, 2, 3)]
    pairs = list(zip(prompts, answers, strict=True))
    return {
        "demonstrations": write_rows(
            folder / "demonstrations.jsonl",
            [{"prompt": p, "completion": a[0]} for p, a in pairs],
        ),
        "rankings": write_rows(
            folder / "rankings.jsonl",
            [{"prompt": p, "responses": a, "ranks": list(range(1, len(a) + 1))} for p, a in pairs],
        ),
        "prompts": write_rows(folder / "prompts.jsonl", [{"prompt": p} for p in prompts]),
    }


def words(recipe, data, model, output, **more):
    """The command line of two steps of `recipe`."""
    # One precision for all: accelerate keeps its first for the life of a process.
    keys = {"model_name_or_path": model, "output_dir": output, "max_steps": 2, "bf16": False}
    keys |= {"cpu_threads": 1, "save_steps": 1}
    if recipe == "ppo":
        keys |= {
            "train_data": data["prompts"],
            "rollout_batch_size": 4,
            "num_minibatches": 2,
            "num_ppo_epochs": 1,
            "max_completion_length": 6,
            "num_eval_prompts": 2,
        }
    else:
        rows = {"sft": "demonstrations", "reward_model": "rankings"}[recipe]
        keys |= {
            "train_data": data[rows],
            "per_device_train_batch_size": 2,
            "eval_fraction": 0.25,
            "max_length": 128,
            "num_samples": 2,
        }
    if recipe == "sft":
        keys |= {"sample_max_new_tokens": 4}
    if recipe == "reward_model":
        keys |= {"normalization_data": data["demonstrations"]}
    return [f"--{key}={value}" for key, value in (keys | more).items()]


def run_here(root, monkeypatch, recipe, arguments):
    """The recipe's `main` in this process: the imports are paid for once."""
    monkeypatch.setattr(sys, "argv", [f"{recipe}.py", *arguments])
    runpy.run_path(str(root / "recipes" / f"{recipe}.py"))["main"]()


@pytest.mark.parametrize("family", FAMILIES)
def test_two_steps_of_each_stage(root, data, tmp_path, monkeypatch, family):
    """Each stage builds on the one before it; both models load with plain transformers."""
    base = make_model(tmp_path / "base", family)
    sft, reward, ppo = tmp_path / "sft", tmp_path / "reward_model", tmp_path / "ppo"
    run_here(root, monkeypatch, "sft", words("sft", data, base, sft))
    run_here(root, monkeypatch, "reward_model", words("reward_model", data, sft, reward))
    run_here(root, monkeypatch, "ppo", words("ppo", data, sft, ppo, reward=reward))
    AutoModelForCausalLM.from_pretrained(sft)
    AutoModelForCausalLM.from_pretrained(ppo)
    model = AutoModelForSequenceClassification.from_pretrained(reward, num_labels=1)
    manifest = read_manifest(reward)
    assert manifest.reward_mean == model.config.rlhf_reward_mean
    assert [use.role for use in manifest.data] == ["train", "eval", "normalization"]
    assert str(sft) in manifest.built_on
    for folder in (sft, reward, ppo):
        check_folder(folder, read_manifest(folder))
        for name in ("config.yaml", "metrics.jsonl", "README.md", "checkpoint-2"):
            assert (folder / name).exists(), f"{folder.name} has no {name}"
        assert list((folder / "samples").glob("*.jsonl"))


def test_lora_through_the_recipes(root, data, tmp_path, monkeypatch):
    """A LoRA policy is an adapter, a LoRA reward model on it a whole model with its adapter."""
    base = make_model(tmp_path / "base", "qwen2")
    sft, reward = tmp_path / "sft", tmp_path / "reward_model"
    lora = {"use_peft": True, "lora_r": 4, "gradient_checkpointing": True}
    run_here(root, monkeypatch, "sft", words("sft", data, base, sft, **lora))
    run_here(root, monkeypatch, "reward_model", words("reward_model", data, sft, reward, **lora))
    assert (sft / "adapter_config.json").is_file()
    assert (reward / "adapter" / "adapter_config.json").is_file()
    AutoModelForSequenceClassification.from_pretrained(reward, num_labels=1)


def test_a_dry_run_says_what_would_run_and_writes_nothing(
    root, data, tmp_path, monkeypatch, capsys
):
    base, out = make_model(tmp_path / "base"), tmp_path / "out"
    run_here(root, monkeypatch, "sft", words("sft", data, base, out, dry_run=True))
    said = capsys.readouterr().out
    assert "6 demonstrations to train on, 2 held out" in said
    assert "M parameters" in said
    assert not out.exists()


@pytest.mark.parametrize("recipe", ["sft", "reward_model"])
def test_resuming_a_finished_run_changes_no_weight(root, data, tmp_path, monkeypatch, recipe):
    base, out = make_model(tmp_path / "base"), tmp_path / "out"
    arguments = words(recipe, data, base, out)
    run_here(root, monkeypatch, recipe, arguments)
    before = load_file(out / "model.safetensors")
    run_here(root, monkeypatch, recipe, [*arguments, "--resume_from_checkpoint=latest"])
    after = load_file(out / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(root, data, tmp_path):
    """Reward model, gloo: 4 prompts on one process, 2 on each of two; weights equal to fp32."""
    base = make_model(tmp_path / "base")
    for count in (1, 2):
        share = {"per_device_train_batch_size": 4 // count, "bf16": False}
        arguments = words("reward_model", data, base, tmp_path / f"on-{count}", **share)
        recipe = root / "recipes" / "reward_model.py"
        assert launch(recipe, arguments, num_processes=count) == 0
    one, two = (load_file(tmp_path / f"on-{count}" / "model.safetensors") for count in (1, 2))
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=1e-5)
    first, second = (read_manifest(tmp_path / f"on-{count}") for count in (1, 2))
    assert (first.world_size, second.world_size) == (1, 2)
    assert first.reward_mean == pytest.approx(second.reward_mean, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_each_stage_on_two_processes(root, data, tmp_path, family):
    base = make_model(tmp_path / "base", family)
    sft, reward = tmp_path / "sft", tmp_path / "reward_model"
    for recipe, model, output, more in (
        ("sft", base, sft, {}),
        ("reward_model", sft, reward, {}),
        ("ppo", sft, tmp_path / "ppo", {"reward": reward}),
    ):
        arguments = words(recipe, data, model, output, **more)
        assert launch(root / "recipes" / f"{recipe}.py", arguments, num_processes=2) == 0
        assert read_manifest(output).world_size == 2
