"""recipes/smollm2-135m: its commands on a tiny chat model, for two steps."""

import json
import runpy
import sys

import pytest

from recipes.helpful.labels import divide
from recipes.instructions.prompts import main as write_instructions
from recipes.probes.prompts import main as write_probes
from rlhf.evaluation.core.results import find, read_results
from tests.tiny_models import make_model

STEPS = {
    "max_steps": 2,
    "save_steps": 2,
    "rollout_batch_size": 16,
    "max_completion_length": 6,
    "cpu_threads": 1,
}


def run(root, monkeypatch, recipe, config, **keys):
    """Run the recipe in this process with the file's keys and these."""
    monkeypatch.chdir(root)  # reward functions are named from here
    script, words = f"recipes/{recipe}.py", [f"recipes/smollm2-135m/{config}.yaml"]
    for key, value in keys.items():
        words += [f"--{key}", *map(str, value if isinstance(value, list) else [value])]
    monkeypatch.setattr(sys, "argv", [script, "--config", *words])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(script, run_name="__main__")
    assert caught.value.code == 0


@pytest.mark.parametrize("config", ["instructions_grpo", "instructions_ppo"])
def test_training_on_checkable_instructions(root, tmp_path, monkeypatch, config):
    write_instructions([str(tmp_path), "--train", "64", "--heldout", "8"])
    model, folder = make_model(tmp_path / "model", "llama"), tmp_path / "run"

    run(
        root,
        monkeypatch,
        "ppo",
        config,
        model_name_or_path=model,
        train_data=tmp_path / "train.jsonl",
        output_dir=folder,
        **(STEPS | ({"critic_warmup_steps": 0} if config == "instructions_ppo" else {})),
    )

    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    scores = [line["score"] for line in lines if "score" in line]
    assert len(scores) == 2
    assert all(0 <= score <= 1 for score in scores)  # a share of constraints


def test_probes_are_a_metric_each(root, tmp_path, monkeypatch):
    write_probes([str(tmp_path / "probes.jsonl")])
    model = make_model(tmp_path / "model", "llama")

    run(
        root,
        monkeypatch,
        "evaluate",
        "evaluate",
        models=[f"before={model}"],
        reward_model=[],
        gold="recipes/probes/checks.py:passed",
        eval_data=tmp_path / "probes.jsonl",
        train_data=[],
        output_dir=tmp_path / "evaluation",
        max_completion_length=4,
        bootstrap_samples=50,
        cpu_threads=1,
    )

    results = read_results(tmp_path / "evaluation")
    for probe in ("recall", "harmful", "harmless", "fact", "fact, wrong hint"):
        assert 0 <= find(results, "score", model="before", judge="gold", subset=probe).value <= 1


def test_labels_are_divided_by_prompt():
    rows = [
        {"prompt": f"Question {number // 2}?", "chosen": f"a{number}", "rejected": f"b{number}"}
        for number in range(100)
    ]

    parts = divide(rows, seed=0)

    assert {name: len(part) for name, part in parts.items()} == {
        "labels": 40,  # of 50 prompts with two rows each: 20, 20 and 10
        "judge_labels": 40,
        "heldout": 20,
    }
    prompts = [{row["prompt"] for row in part} for part in parts.values()]
    assert len(set.union(*prompts)) == sum(map(len, prompts)) == 50
