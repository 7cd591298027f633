"""The YAML of align, evaluate and pretrain, on rows with the columns of their hub sets.

Tests of toy_tasks run its own files, and `make demo-short` those of recipes/pocket. Model, data,
output_dir, numbers of steps and rows, and lengths are replaced; every other key stays, also in the
files of the stages.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.recipes.hub_rows import hub_rows, with_local_data
from tests.tiny_models import make_model

QWEN = Path("recipes/qwen2.5-0.5b")
SIZES = {
    "sft_keys": [
        *("max_steps=2", "max_length=128", "per_device_train_batch_size=2"),
        *("gradient_accumulation_steps=1", "num_samples=2", "sample_max_new_tokens=4"),
    ],
    "reward_model_keys": [
        *("max_steps=2", "max_length=128", "per_device_train_batch_size=2"),
        "gradient_accumulation_steps=1",
    ],
    "ppo_keys": [
        *("total_episodes=16", "critic_warmup_steps=1", "rollout_batch_size=8"),
        *("max_prompt_length=96", "max_completion_length=6", "num_eval_prompts=4"),
    ],
    "evaluate_keys": ["max_prompts=4", "max_completion_length=6", "max_prompt_length=96"],
}


def run(root: Path, recipe: str, keys: dict[str, object], folder: Path) -> None:
    config = folder / f"{recipe}.yaml"
    config.write_text(yaml.safe_dump(keys))
    command = [sys.executable, f"recipes/{recipe}.py", "--config", str(config)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=1200)
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


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lora", "full"])
def test_align_yaml_of_a_real_model(root: Path, tmp_path: Path, kind: str):
    model, files = make_model(tmp_path / "model", "qwen2"), hub_rows(tmp_path)
    keys = with_local_data(yaml.safe_load((root / QWEN / f"align-{kind}.yaml").read_text()), files)
    for stage in ("sft", "reward_model", "ppo", "evaluate"):
        own = yaml.safe_load((root / str(keys[f"{stage}_config"])).read_text())
        config = tmp_path / f"{stage}-stage.yaml"
        config.write_text(yaml.safe_dump(with_local_data(own, files)))
        keys[f"{stage}_config"] = str(config)
    keys |= {**SIZES, "model_name_or_path": str(model), "output_dir": str(tmp_path / "run")}
    keys |= {"label_eval_fraction": 0.25, "skip_gate": True, "cpu_threads": 1}
    run(root, "align", keys, tmp_path)
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
