"""`rlhf plan`, and recipes that do not start what cannot fit."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from rlhf import cli
from rlhf.planning import target
from rlhf.planning.machines import GPUS
from rlhf.recipes.plan_rows import RowCounts, count_prompts, count_rows
from rlhf.recipes.plan_steps import recipe_of
from tests.errors import raises
from tests.planning.shapes import SMALL, config_of
from tests.recipes.two_steps import make_data, recipe_args, run_in_process
from tests.tiny_models import make_model

RECIPES = Path(__file__).parents[2] / "recipes"
OTHERS = (
    *("accelerate/", "kubernetes/", "skypilot/", "annotators", "evaluate", "pretrain"),
    *("rejection", "compare", "generative", "suites/"),
)
ALL = sorted(path.relative_to(RECIPES).as_posix() for path in RECIPES.rglob("*.yaml"))
REWARD = "def f(prompts, completions):\n    return [float(len(text)) for text in completions]\n"
PLANNED = [name for name in ALL if not any(word in name for word in OTHERS)]


@pytest.fixture
def root():
    return RECIPES.parent


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A folder with the config.json of a small Llama."""
    folder = tmp_path_factory.mktemp("small")
    config_of(SMALL).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("name", PLANNED)
def test_every_training_recipe_is_planned(name, small, monkeypatch, root, capsys):
    monkeypatch.chdir(root)
    words = ["plan", f"recipes/{name}", "--gpus", "2xA100-80", "--model", small]
    assert cli.run_command(words) == 0
    printed = capsys.readouterr().out
    assert "total" in printed
    assert "fits: " in printed
    assert "GB/s" in printed
    recipes = ("sft", "reward_model", "dpo", "kto", "ppo")
    kinds = [recipe for recipe in recipes if f": {recipe} on 2 x" in printed]
    assert len(kinds) == (3 if "align" in name else 1)


def test_a_run_that_does_not_fit_exits_with_2_and_lists_changes(tmp_path, small, capsys):
    path = tmp_path / "ppo.yaml"
    keys = {"model_name_or_path": "x/y", "reward": ["f.py:f"], "train_data": "x.jsonl"}
    path.write_text(yaml.safe_dump(keys | {"output_dir": "out", "max_steps": 1}))
    words = ["plan", str(path), "--gpus", "A10-24", "--model", small]
    huge = ["--rollout_batch_size", "4000000", "--max_completion_length", "512"]
    assert cli.run_command(words) == 0
    assert cli.run_command([*words, *huge]) == 2
    printed = capsys.readouterr().out
    assert "does not fit" in printed
    assert "rollout_batch_size: 2000000" in printed


@pytest.mark.parametrize(
    ("name", "keys", "recipe"),
    [
        ("a.yaml", {"packing": False}, "sft"),
        ("a.yaml", {"num_heads": 2}, "reward_model"),
        ("sft-lora.yaml", {"max_length": 9}, "sft"),
        ("my-rankings.yaml", {"max_length": 9}, "reward_model"),
        ("a.yaml", {"simpo_gamma": 0.1}, "dpo"),
        ("my-dpo.yaml", {"max_length": 9}, "dpo"),
        ("a.yaml", {"desirable_weight": 2.0}, "kto"),
        ("a.yaml", {"kl_coef": 0.1}, "ppo"),
        ("a.yaml", {"demonstrations": "x"}, "align"),
    ],
)
def test_keys_tell_the_recipe_else_the_name_of_the_file(tmp_path, name, keys, recipe):
    path = tmp_path / name
    path.write_text(yaml.safe_dump(keys))
    assert recipe_of(path, None) == recipe


def test_file_of_unknown_or_unplanned_recipe_raises(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("max_length: 9\n")
    with raises("missing-key", "--recipe", "sft", "reward_model"):
        recipe_of(path, None)
    assert recipe_of(path, "sft") == "sft"
    path.write_text("nonsense: 9\n")
    with raises("bad-config-file", path):
        recipe_of(path, None)
    path.write_text("num_generations: 2\nmodels: [x]\n")
    with raises("bad-config-file", "evaluate"):
        recipe_of(path, None)


def test_rows_of_local_files_are_counted(tmp_path):
    """Two pairs of one prompt have three responses; a weight of 2 counts rows twice."""
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"prompt": "a", "chosen": "1", "rejected": "2"},
        {"prompt": "a", "chosen": "1", "rejected": "3"},
        {"prompt": "b", "responses": ["1", "2"], "ranks": [1, 2]},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert count_rows([f"2*{path}"]) == 6
    assert count_prompts([str(path)]) == RowCounts(prompts=2, responses=3)
    assert count_rows(["someone/data"]) is None
    assert count_prompts(["someone/data"]) is None


@pytest.mark.parametrize("recipe", ["sft", "reward_model", "dpo", "kto", "ppo"])
def test_recipe_rejects_what_does_not_fit_unless_told_otherwise(
    recipe, root, tmp_path, monkeypatch
):
    tiny = replace(GPUS["L4-24"], name="tiny", memory=1_000_000, on_gpu=False)
    monkeypatch.setattr(target, "this_machine", lambda: tiny)
    data, base = make_data(tmp_path), make_model(tmp_path / "base")
    (tmp_path / "reward.py").write_text(REWARD)
    extra = {"reward": f"{tmp_path}/reward.py:f"} if recipe == "ppo" else {}
    arguments = recipe_args(recipe, data, base, tmp_path / "out", **extra)
    with raises("out-of-memory", "tiny", "--skip_plan"):
        run_in_process(root, monkeypatch, recipe, arguments)
    assert not (tmp_path / "out").exists()
    run_in_process(root, monkeypatch, recipe, [*arguments, "--skip_plan=true"])
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_dry_run_prints_memory_by_phase_and_time(root, tmp_path, monkeypatch, capsys):
    data, base = make_data(tmp_path), make_model(tmp_path / "base")
    (tmp_path / "reward.py").write_text(REWARD)
    words = recipe_args(
        "ppo", data, base, tmp_path / "out", reward=f"{tmp_path}/reward.py:f", dry_run=True
    )
    run_in_process(root, monkeypatch, "ppo", words)
    printed = capsys.readouterr().out
    for word in ("rollout", "score", "update", "KV cache", "moments", "per second", "run: 2 iter"):
        assert word in printed


def test_evaluation_rejects_skip_plan(root, tmp_path, monkeypatch):
    data, base = make_data(tmp_path), make_model(tmp_path / "base")
    extra = {"models": f"a={base}", "skip_plan": True}
    words = recipe_args("evaluate", data, base, tmp_path / "out", **extra)
    with raises("key-conflict", "skip_plan"):
        run_in_process(root, monkeypatch, "evaluate", words)
