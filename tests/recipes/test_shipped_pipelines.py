"""The YAML of align, evaluate and pretrain, on rows with the columns of their hub sets.

Tests of toy_tasks run its own files, and `make demo-short` those of recipes/pocket. Model, data,
output_dir, numbers of steps and rows, and lengths are replaced; every other key stays, also in the
files of the stages. Named models have two layers and random weights (see families.py).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.recipes.families import FAMILIES, make_base
from tests.recipes.hub_rows import hub_rows, with_local_data
from tests.recipes.two_steps import run_in_process, write_rows
from tests.tiny_models import make_model

QWEN = Path("recipes/qwen2.5-0.5b")
PIPELINES = [f"{name}/align.yaml" for name in FAMILIES if name != "qwen2.5-0.5b"]
PIPELINES += ["qwen2.5-0.5b/align-full.yaml", "qwen2.5-0.5b/align-lora.yaml"]
# Prompts are long: a family's system prompt in a small vocabulary.
SIZES = {
    "sft_keys": [
        *("max_steps=2", "max_length=256", "per_device_train_batch_size=2"),
        *("gradient_accumulation_steps=1", "num_samples=2", "sample_max_new_tokens=4"),
    ],
    "reward_model_keys": [
        *("max_steps=2", "max_length=256", "per_device_train_batch_size=2"),
        "gradient_accumulation_steps=1",
    ],
    "ppo_keys": [
        *("total_episodes=16", "critic_warmup_steps=1", "rollout_batch_size=8"),
        *("max_prompt_length=224", "max_completion_length=6", "num_eval_prompts=4"),
    ],
    "evaluate_keys": ["max_prompts=4", "max_completion_length=6", "max_prompt_length=224"],
}


def run(root: Path, recipe: str, keys: dict[str, object], folder: Path, **variables: str) -> None:
    config = folder / f"{recipe}.yaml"
    config.write_text(yaml.safe_dump(keys))
    command = [sys.executable, f"recipes/{recipe}.py", "--config", str(config)]
    environment = os.environ | variables
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_evaluate_yaml_of_a_real_model(root: Path, tmp_path: Path):
    model, files = make_model(tmp_path / "model", "qwen2"), hub_rows(tmp_path)
    keys = with_local_data(yaml.safe_load((root / QWEN / "evaluate.yaml").read_text()), files)
    keys |= {"models": [f"sft={model}", f"ppo={model}"], "output_dir": str(tmp_path / "evaluation")}
    keys |= {"reward_model": [], "gold": "recipes/pocket/gold.py:score", "cpu_threads": 1}
    keys |= {"max_prompts": 4, "max_completion_length": 6, "bootstrap_samples": 50}
    run(root, "evaluate", keys, tmp_path)
    results = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())["results"]
    assert any(result["metric"] == "win_rate" for result in results)


def test_evaluate_yaml_of_the_story_model(root: Path, tmp_path: Path):
    """Raw prompts, and its own judge, fitted on four sentences."""
    model = make_model(tmp_path / "model", "gpt_neox")
    keys = yaml.safe_load((root / "recipes/stories260k/sentiment_evaluate.yaml").read_text())
    rows = [{"prompt": f"The {thing} is"} for thing in ("cat", "dog", "bird", "sea")]
    keys |= {"models": [f"base={model}", f"ppo={model}"], "output_dir": str(tmp_path / "out")}
    keys |= {"eval_data": write_rows(tmp_path / "openings.jsonl", rows), "cpu_threads": 1}
    keys |= {"reward_model": [], "bootstrap_samples": 50}
    judged = [{"chosen": f"good {thing}", "rejected": f"bad {thing}"} for thing in ("cat", "dog")]
    sentences = write_rows(tmp_path / "judge.jsonl", judged)
    run(root, "evaluate", keys, tmp_path, SENTIMENT_JUDGE_DATA=sentences)
    results = json.loads((tmp_path / "out" / "evaluation.json").read_text())["results"]
    assert {"score", "kl"} <= {result["metric"] for result in results}


def pipeline_keys(root: Path, name: str, model: Path, folder: Path) -> dict[str, object]:
    """The keys of the pipeline with another model, and stages with local rows."""
    files = hub_rows(folder)
    keys = with_local_data(yaml.safe_load((root / "recipes" / name).read_text()), files)
    for stage in ("sft", "reward_model", "ppo", "evaluate"):
        own = yaml.safe_load((root / str(keys[f"{stage}_config"])).read_text())
        config = folder / f"{stage}-stage.yaml"
        config.write_text(yaml.safe_dump(with_local_data(own, files)))
        keys[f"{stage}_config"] = str(config)
    keys |= {"model_name_or_path": str(model), "output_dir": str(folder / "run")}
    return keys | {"label_eval_fraction": 0.25, "skip_gate": True, "cpu_threads": 1}


@pytest.mark.parametrize("name", PIPELINES)
def test_align_yaml_checks_its_inputs(root, tmp_path, monkeypatch, capsys, name):
    """A dry run: keys and files of all stages, template, rows, and the plan."""
    monkeypatch.chdir(root)
    model = make_base(tmp_path / "base", Path(name).parent.name)
    config = tmp_path / "align.yaml"
    config.write_text(yaml.safe_dump(pipeline_keys(root, name, model, tmp_path)))
    run_in_process(root, monkeypatch, "align", ["--config", str(config), "--dry_run=true"])
    printed = capsys.readouterr().out
    for stage in ("sft: 8 demonstrations", "labels: 8 rankings", "ppo: 8 prompts", "evaluation: "):
        assert stage in printed
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("qwen2.5-0.5b/align-full.yaml", "qwen2.5-0.5b/align-lora.yaml"),
        *("qwen3-1.7b/align.yaml", "pythia-1b-tldr/align.yaml"),  # thoughts; raw texts
    ],
)
def test_align_yaml_of_a_real_model(root: Path, tmp_path: Path, name: str):
    keys = pipeline_keys(root, name, make_base(tmp_path / "base", Path(name).parent.name), tmp_path)
    run(root, "align", keys | SIZES, tmp_path)
    results = json.loads((tmp_path / "run" / "evaluation" / "evaluation.json").read_text())
    assert {result["model"] for result in results["results"]} >= {"sft", "ppo"}


@pytest.mark.slow
def test_pretrain_yaml_of_the_embedded_model(root: Path, tmp_path: Path):
    keys = yaml.safe_load((root / "recipes/pocket/pretrain.yaml").read_text())
    keys |= {"output_dir": str(tmp_path / "run"), "threads": 1, "tokens_per_step": 512}
    keys |= {"max_steps": 2, "eval_steps": 2, "save_steps": 2, "logging_steps": 1}
    run(root, "pretrain", keys, tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run")
    assert len(tokenizer) == keys["vocab_size"] == model.config.vocab_size
    ids = tokenizer("Where is the cup?", return_tensors="pt")["input_ids"]
    assert model(ids).logits.isfinite().all()
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == 2
