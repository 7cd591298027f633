"""The recipes on four architectures: two steps of each stage, with one process and with two."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from rlhf.evaluation.core.records import read_records
from rlhf.evaluation.core.results import find, read_results
from rlhf.manifest import check_folder, read_manifest
from rlhf.runtime import launcher
from tests.recipes.two_steps import OBJECTS, make_data, recipe_args, run_in_process
from tests.tiny_models import FAMILIES, make_model


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Demonstrations, rankings and prompts."""
    return make_data(tmp_path_factory.mktemp("data"))


def stages(data, base, folder):
    """(recipe, arguments, folder) of each stage of the pipeline, in order."""
    sft, reward, ppo, evaluation = (
        folder / n for n in ("sft", "reward_model", "ppo", "evaluation")
    )
    models = ["--models", f"sft={sft}", f"ppo={ppo}"]
    judge = {"reward_model": reward}
    return [
        ("sft", recipe_args("sft", data, base, sft), sft),
        ("reward_model", recipe_args("reward_model", data, sft, reward), reward),
        ("ppo", recipe_args("ppo", data, sft, ppo, reward=reward), ppo),
        (
            "evaluate",
            [*recipe_args("evaluate", data, sft, evaluation, **judge), *models],
            evaluation,
        ),
    ]


def check_run(folder, world_size):
    """Check that all run folders are complete and load with plain transformers."""
    for name in ("sft", "ppo"):
        AutoModelForCausalLM.from_pretrained(folder / name)
    reward = folder / "reward_model"
    model = AutoModelForSequenceClassification.from_pretrained(reward, num_labels=1)
    manifest = read_manifest(reward)
    assert manifest.reward_mean == model.config.rlhf_reward_mean
    assert [use.role for use in manifest.data] == ["train", "eval", "normalization"]
    assert str(folder / "sft") in manifest.built_on
    for stage in ("sft", "reward_model", "ppo"):
        check_folder(folder / stage, read_manifest(folder / stage))
        assert read_manifest(folder / stage).world_size == world_size
        for name in ("config.yaml", "metrics.jsonl", "README.md", "report.html", "checkpoint-2"):
            assert (folder / stage / name).exists(), f"{stage} has no {name}"
        assert list((folder / stage / "samples").glob("*.jsonl"))
    results = read_results(folder / "evaluation")
    judge = {"baseline": "sft", "judge": "reward_model"}
    assert find(results, "win_rate", "ppo", **judge).n == len(OBJECTS)
    # Two steps at 3e-6 change the policy by less than rounding.
    assert find(results, "kl", "ppo").value == pytest.approx(0.0, abs=1e-3)
    records = read_records(folder / "evaluation" / "answers.jsonl")
    sampled = [record for record in records if record.model in ("sft", "ppo")]
    assert len(sampled) == 2 * 2 * len(OBJECTS)


@pytest.mark.parametrize("family", FAMILIES)
def test_two_steps_of_each_stage(root, data, tmp_path, monkeypatch, family):
    base = make_model(tmp_path / "base", family)
    for recipe, arguments, _ in stages(data, base, tmp_path):
        run_in_process(root, monkeypatch, recipe, arguments)
    check_run(tmp_path, world_size=1)


def test_lora_through_sft_and_reward_model(root, data, tmp_path, monkeypatch):
    """A LoRA policy is an adapter; a LoRA reward model is a full model plus its adapter."""
    base = make_model(tmp_path / "base", "qwen2")
    sft, reward = tmp_path / "sft", tmp_path / "reward_model"
    lora = {"use_peft": True, "lora_r": 4, "gradient_checkpointing": True}
    run_in_process(root, monkeypatch, "sft", recipe_args("sft", data, base, sft, **lora))
    run_in_process(
        root, monkeypatch, "reward_model", recipe_args("reward_model", data, sft, reward, **lora)
    )
    assert (sft / "adapter_config.json").is_file()
    assert (reward / "adapter" / "adapter_config.json").is_file()
    AutoModelForSequenceClassification.from_pretrained(reward, num_labels=1)


def test_reward_ensemble_through_the_recipes(root, data, tmp_path, monkeypatch):
    """Two heads: a plain model with report and verdict, a file of heads, and PPO on the worst."""
    base = make_model(tmp_path / "base", "qwen2")
    reward, ppo = tmp_path / "reward_model", tmp_path / "ppo"
    run_in_process(
        root,
        monkeypatch,
        "reward_model",
        recipe_args("reward_model", data, base, reward, num_heads=2),
    )
    AutoModelForSequenceClassification.from_pretrained(reward, num_labels=1)
    assert load_file(reward / "heads.safetensors")["weight"].shape[0] == 2
    check_folder(reward, read_manifest(reward))
    evaluation = json.loads((reward / "evaluation.json").read_text())
    assert evaluation["kind"] == "reward_model"
    assert "heads_agree" in {result["metric"] for result in evaluation["results"]}
    assert "heads agree" in (reward / "report.html").read_text()
    # Two held-out prompts are too few to differ from chance.
    assert json.loads((reward / "gate.json").read_text())["verdict"] == "fail"
    worst = recipe_args("ppo", data, base, ppo, reward=reward, reward_aggregation="worst")
    run_in_process(root, monkeypatch, "ppo", worst)
    rows = [json.loads(line) for line in (ppo / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 2


def test_dry_run_prints_the_plan_and_writes_nothing(root, data, tmp_path, monkeypatch, capsys):
    base, out = make_model(tmp_path / "base"), tmp_path / "out"
    run_in_process(root, monkeypatch, "sft", recipe_args("sft", data, base, out, dry_run=True))
    output = capsys.readouterr().out
    assert "6 rows to train on, 2 held out" in output
    assert "M parameters" in output
    assert not out.exists()


@pytest.mark.parametrize("recipe", ["sft", "reward_model"])
def test_resuming_a_finished_run_keeps_its_weights(root, data, tmp_path, monkeypatch, recipe):
    base, out = make_model(tmp_path / "base"), tmp_path / "out"
    arguments = recipe_args(recipe, data, base, out)
    run_in_process(root, monkeypatch, recipe, arguments)
    before = load_file(out / "model.safetensors")
    run_in_process(root, monkeypatch, recipe, [*arguments, "--resume_from_checkpoint=latest"])
    after = load_file(out / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.fixture(scope="module")
def two_process_runs(root, data, tmp_path_factory):
    """All runs on two processes (gloo), in one launch."""
    folder, jobs = tmp_path_factory.mktemp("two_processes"), []
    for family in FAMILIES:
        base = make_model(folder / family / "base", family)
        jobs += [stage[:2] for stage in stages(data, base, folder / family)]
    base, half_batch = make_model(folder / "base"), {"per_device_train_batch_size": 2}
    jobs += [
        ("reward_model", recipe_args("reward_model", data, base, folder / "halves", **half_batch))
    ]
    paths = [(str(root / "recipes" / f"{recipe}.py"), arguments) for recipe, arguments in jobs]
    (folder / "jobs.json").write_text(json.dumps(paths))
    script = root / "tests" / "recipes" / "run_stages.py"
    assert launcher.main(["--num_processes=2", str(script), f"{folder}/jobs.json"]) == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_two_steps_of_each_stage_on_two_processes(two_process_runs, family):
    check_run(two_process_runs / family, world_size=2)


@pytest.mark.slow
def test_two_processes_equal_one(root, data, two_process_runs, tmp_path, monkeypatch):
    """Reward model: 4 prompts per step on one process, 2 on each of two; equal within fp32."""
    full_batch = {"per_device_train_batch_size": 4}
    arguments = recipe_args(
        "reward_model", data, two_process_runs / "base", tmp_path / "one", **full_batch
    )
    run_in_process(root, monkeypatch, "reward_model", arguments)
    folders = (tmp_path / "one", two_process_runs / "halves")
    one, two = (load_file(folder / "model.safetensors") for folder in folders)
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=1e-5)
    first, second = (read_manifest(folder) for folder in folders)
    assert (first.world_size, second.world_size) == (1, 2)
    assert first.reward_mean == pytest.approx(second.reward_mean, abs=1e-4)
