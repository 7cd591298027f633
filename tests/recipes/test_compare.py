"""`rlhf compare` with a tiny model: results, resumed, extended, changed, rejected, planned."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from recipes.toy_tasks.markov.chain import SYMBOLS, demonstrations, pairs, prompt_rows
from recipes.toy_tasks.tiny_model import make_model as make_toy_model
from recipes.toy_tasks.tiny_model import make_tokenizer
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.models.load import new_reward_model
from rlhf.models.save import save_reward_model
from rlhf.recipes import compare
from tests.errors import raises
from tests.recipes.two_steps import make_data, write_rows
from tests.tiny_models import make_model

ROOT = Path(__file__).parents[2]
THINGS = "ball box cat dog bird sea tree house sun moon car boat".split()
GOLD = """
def vowels(prompts, completions, **columns):
    return [float(sum(c in "aeiou" for c in text)) for text in completions]

def short(prompts, completions):
    return [-len(text) / 100 for text in completions]

def long(prompts, completions):
    return [float(len(text)) for text in completions]

def asks(prompts, completions, no_such_column):
    return [0.0] * len(completions)
"""
TINY = {"max_steps": 2, "bf16": False}
PPO = {
    **TINY,
    "rollout_batch_size": 8,
    "num_minibatches": 2,
    "num_ppo_epochs": 1,
    "learning_rate": 3e-3,  # far enough for a KL above rounding
    "max_prompt_length": 64,
    "max_completion_length": 6,
}
ROWS = {**TINY, "max_length": 64, "per_device_train_batch_size": 2, "num_samples": 0}
SFT_KEYS = ["max_steps=1", "max_length=64", "packing=false", "num_samples=0", "bf16=false"]
ALL = {
    "ppo": {"keys": PPO, "sweep": {"kl_coef": [0.1, 0.5]}},
    "dpo": {"keys": ROWS, "sweep": {"beta": [0.1]}},
    "kto": {"keys": ROWS, "sweep": {"beta": [0.1]}},
    "rejection_sampling": {
        "keys": {"sample_max_new_tokens": 6, "sft_keys": SFT_KEYS},
        "sweep": {"num_responses": [2]},
    },
    "best_of_n": {"sweep": {"num_responses": [2, 4]}},
}


def make_config(folder):
    """The keys of a comparison with one short PPO run and best of N."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gold.py").write_text(GOLD)
    data = make_data(folder)
    held_out = [{"prompt": f"See the {thing}?"} for thing in THINGS]
    return {
        "model_name_or_path": str(make_model(folder / "model")),
        "labels": data["rankings"],
        "prompts": data["prompts"],
        "heldout_prompts": write_rows(folder / "heldout.jsonl", held_out),
        "normalization_data": data["demonstrations"],
        "judge": f"{folder}/gold.py:vowels",
        "extra_rewards": [f"{folder}/gold.py:short"],
        "output_dir": str(folder / "out"),
        "seeds": [0],
        "cpu_threads": 1,
        "skip_gate": True,
        "label_eval_fraction": 0.25,
        "reward_model_keys": [
            "max_steps=2", "max_length=64", "per_device_train_batch_size=2", "bf16=false"
        ],
        "num_generations": 2,
        "max_completion_length": 6,
        "max_prompt_length": 64,
        "methods": {
            "ppo": {"keys": PPO, "sweep": {"kl_coef": [0.1]}},
            "best_of_n": {"sweep": {"num_responses": [2]}},
        },
    }  # fmt: skip


def command(config, *words):
    path = Path(config["output_dir"]).parent / "compare.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return [sys.executable, str(ROOT / "recipes" / "compare.py"), f"--config={path}", *words]


def run(config, *words, status=0):
    """What the command prints."""
    done = subprocess.run(command(config, *words), capture_output=True, text=True, timeout=900)
    assert done.returncode == status, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


def read(config):
    return json.loads((Path(config["output_dir"]) / "compare.json").read_text())


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return make_config(tmp_path_factory.mktemp("compare"))


@pytest.fixture(scope="module")
def finished(config):
    """The comparison, complete, and what it printed."""
    return config, run(config)


def test_comparison_runs_from_labels_to_verdict(finished):
    config, printed = finished
    folder, content = Path(config["output_dir"]), read(config)
    assert [(p["method"], p["value"]) for p in content["points"]] == [
        ("ppo", 0.1),
        ("best_of_n", 2),
    ]
    ppo, best = content["points"]
    assert ppo["runs"][0]["responses"] == 16
    assert ppo["runs"][0]["seconds"] > 0
    assert ppo["runs"][0]["tokens"] > 16
    assert ppo["kl"]["value"] > 1e-4
    assert best["kl"] == pytest.approx(
        {**dict.fromkeys(("value", "low", "high"), 0.19315), "se": 0}
        | {"n": 12, "num_answers": 12, "is_bound": True},
        abs=1e-4,
    )
    assert best["reward"]["value"] > content["sft"]["reward"]
    for name in ("compare.html", "compare.md", "compare.svg"):
        assert (folder / name).stat().st_size > 500
    assert content["verdict"][0].startswith(("Take ", "Keep the SFT model"))
    assert "compare.html" in printed
    assert not list((folder / "ppo").rglob("checkpoint-*"))
    evaluation = folder / "ppo" / "kl_coef-0.1" / "seed-0" / "evaluation"
    answers = (evaluation / "answers.jsonl").read_text()
    rows = [json.loads(line) for line in answers.splitlines()]
    assert len(rows) == 12 * 2
    assert {*rows[0]["scores"]} == {"judge", "reward"}


def test_complete_comparison_runs_nothing(finished):
    config, _ = finished
    before = read(config)
    printed = run(config)
    assert printed.count("complete, inputs unchanged") == 4  # labels, reward model, run, evaluation
    assert read(config) == before


@pytest.mark.slow
def test_other_judge_scores_the_same_responses_again(finished):
    config, _ = finished
    before = read(config)
    changed = {**config, "judge": config["judge"].replace(":vowels", ":long")}
    printed = run(changed)
    assert "responses to each of" not in printed
    after = read(config)
    assert after["points"][0]["kl"] == before["points"][0]["kl"]
    assert after["points"][0]["score"] != before["points"][0]["score"]


@pytest.mark.slow
def test_all_recipes_with_two_seeds_at_a_budget_of_responses(tmp_path):
    """16 responses are 2 iterations of 8, and 8 prompts of 2 responses."""
    config = make_config(tmp_path / "all") | {"methods": ALL, "seeds": [0, 1]}
    run(config, "--budget_responses", "16")
    content = read(config)
    sampled = {p["method"]: [r["responses"] for r in p["runs"]] for p in content["points"]}
    assert sampled["ppo"] == [16, 16]
    assert sampled["dpo"] == sampled["kto"] == [0, 0]
    assert sampled["rejection_sampling"] == [16, 16]
    assert all(r["tokens"] > 0 for p in content["points"] for r in p["runs"])
    assert len(content["best"]) == 5
    changed = {**config, "methods": {**ALL, "dpo": {**ALL["dpo"], "sweep": {"beta": [0.1, 0.5]}}}}
    printed = run(changed, "--budget_responses", "16")
    assert printed.count("complete, inputs unchanged") == 2 + 10  # labels, reward model, runs
    other = {**PPO, "learning_rate": 1e-4}
    changed["methods"]["ppo"] = {"keys": other, "sweep": {"kl_coef": [0.1, 0.5]}}
    printed = run(changed, "--budget_responses", "16")
    assert printed.count("inputs changed (learning_rate") == 4
    folder = Path(config["output_dir"])
    assert (folder / "ppo" / "kl_coef-0.1" / "seed-1" / "train.old-1").is_dir()
    printed = run(changed, "--budget_responses", "16", "--overwrite", "true")
    assert "complete, inputs unchanged" not in printed


@pytest.mark.slow
def test_budget_of_seconds_measures_the_speed_first(tmp_path):
    methods = {
        "ppo": {"keys": PPO, "sweep": {"kl_coef": [0.1]}},
        "dpo": {"keys": ROWS, "sweep": {"beta": [0.1]}},
    }
    config = make_config(tmp_path / "seconds") | {"methods": methods}
    printed = run(config, "--budget_seconds", "3")
    assert "ppo: " in printed
    assert "s per step" in printed
    folder = Path(config["output_dir"])
    steps = (folder / "ppo" / "kl_coef-0.1" / "seed-0" / "train" / "metrics.jsonl").read_text()
    again = run(config, "--budget_seconds", "3")
    assert again.count("complete, inputs unchanged") == 2 + 2 + 2 + 1
    assert (
        steps == (folder / "ppo" / "kl_coef-0.1" / "seed-0" / "train" / "metrics.jsonl").read_text()
    )


@pytest.mark.slow
def test_stopped_comparison_resumes_and_skips_complete_runs(tmp_path):
    config = make_config(tmp_path / "stopped") | {"seeds": [0, 1]}
    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen(command(config), stdout=file, stderr=subprocess.STDOUT)
        end = time.monotonic() + 600
        while "run 2 of 2" not in log.read_text() and time.monotonic() < end:
            time.sleep(0.2)
        time.sleep(4)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 75, log.read_text()
    printed = run(config)
    assert "ppo kl_coef=0.1 seed 0: complete, inputs unchanged" in printed
    assert len(read(config)["points"][0]["runs"]) == 2


@pytest.mark.parametrize(
    ("keys", "code", "name"),
    [
        ({"labels": "none.jsonl"}, "missing-file", "none.jsonl"),
        ({"methods": {"ppo": {"sweep": {"kl_coeff": [1]}}}}, "unknown-key", "kl_coef"),
        ({"methods": {"ppo": {"sweep": {"kl_coef": [-1]}}}}, "missing-key", "max_steps"),
        ({"methods": {"dpo": {"sweep": {"beta": [-1]}}}}, "bad-value", "dpo beta=-1 seed 0"),
        ({"judge": "gold.py:none"}, "bad-reward", "gold.py"),
        ({"push_to_hub": "a/b"}, "key-conflict", "push_to_hub"),
        ({"reward_model_keys": ["objective=outcome"]}, "key-conflict", "objective"),
        ({"budget_responses": 4}, "key-conflict", "budget_responses=4"),
    ],
)
def test_mistake_is_reported_before_anything_is_written(
    config, tmp_path, monkeypatch, keys, code, name
):
    with raises(code, name):
        run_in_process(config | keys, tmp_path, monkeypatch)
    assert not (tmp_path / "out").exists()


def test_missing_column_and_bad_rows_are_reported(config, tmp_path, monkeypatch):
    judge = config["judge"].replace(":vowels", ":asks")
    with raises("bad-reward", "no_such_column"):
        run_in_process(config | {"judge": judge}, tmp_path, monkeypatch)
    bad = write_rows(tmp_path / "bad.jsonl", [{"prompt": "Hi"}, {"text": "x"}])
    with raises("bad-row", "bad.jsonl:2"):
        run_in_process(config | {"prompts": bad}, tmp_path, monkeypatch)


def run_in_process(config, folder, monkeypatch):
    """Run the recipe in the process of the test, so that imports run only once."""
    path = folder / "compare.yaml"
    path.write_text(yaml.safe_dump(config | {"output_dir": str(folder / "out")}, sort_keys=False))
    monkeypatch.setattr(sys, "argv", ["compare.py", f"--config={path}"])
    compare.main()


def test_pocket_yaml_is_planned(config, tmp_path, monkeypatch, capsys):
    """--dry_run reads every key of every method, the rows, and predicts memory and time."""
    words = ["--model_name_or_path=data/pocket/model", f"--labels={config['labels']}"]
    printed = dry_run("pocket", words, tmp_path, monkeypatch, capsys)
    assert "\nppo: kl_coef 0.05 0.3 1.0, seeds 0 1 2: 9 runs of 7,680 sampled responses" in printed
    assert "\nrejection_sampling: num_responses 4 16, seeds 0 1 2: 6 runs" in printed
    assert "\nbest_of_n: num_responses 2 4 8 16; no training, 16 responses" in printed
    assert "evaluation: 35 policies x 4 responses to 408 prompts" in printed
    assert "in total 33 runs" in printed


def test_smollm2_yaml_is_planned(config, tmp_path, monkeypatch, capsys):
    """The judge is a reward model of the policy's format."""
    judge = tmp_path / "judge"
    chat = load_tokenizer(config["model_name_or_path"])
    save_reward_model(judge, new_reward_model(config["model_name_or_path"], seed=1), chat, 0.0, 1.0)
    words = [f"--judge={judge}", f"--prompts={config['labels']}"]
    words += [
        f"--{key}={config[key]}" for key in ("model_name_or_path", "labels", "heldout_prompts")
    ]
    printed = dry_run("smollm2-135m", words, tmp_path, monkeypatch, capsys)
    for method in ("ppo", "grpo"):
        line = f"\n{method}: kl_coef 0.02 0.05 0.2, seeds 0 1 2: 9 runs of 3,840 sampled responses"
        assert line in printed
    assert "\ndpo: beta 0.03 0.1 0.3, seeds 0 1 2: 9 runs of 0 sampled responses" in printed
    assert "evaluation: 29 policies x 2 responses to 12 prompts" in printed
    assert f"by {judge}" in printed
    assert "in total 27 runs" in printed


def test_toy_yaml_is_planned(tmp_path, monkeypatch, capsys):
    make_toy_model(tmp_path / "base", make_tokenizer(SYMBOLS), seed=0)
    world = {
        "model_name_or_path": str(tmp_path / "base"),
        "labels": write_rows(tmp_path / "labels.jsonl", pairs(0, 20, part=0)),
        "prompts": write_rows(tmp_path / "prompts.jsonl", prompt_rows(0, 20, part=0)),
        "heldout_prompts": write_rows(tmp_path / "heldout.jsonl", prompt_rows(0, 9, part=1)),
        "normalization_data": write_rows(tmp_path / "demonstrations.jsonl", demonstrations(0, 9)),
    }
    words = [f"--{key}={value}" for key, value in world.items()]
    printed = dry_run("toy_tasks/markov", words, tmp_path, monkeypatch, capsys)
    assert "\ndpo: beta 0.1 0.3 1.0, seeds 0: 3 runs of 0 sampled responses" in printed
    assert "in total 12 runs" in printed


def dry_run(name, words, folder, monkeypatch, capsys):
    """What the dry run of recipes/NAME/compare.yaml prints; it writes nothing."""
    monkeypatch.chdir(ROOT)
    output = folder / "out"
    path = f"recipes/{name}/compare.yaml"
    arguments = [f"--config={path}", f"--output_dir={output}", "--dry_run=true", *words]
    monkeypatch.setattr(sys, "argv", ["compare.py", *arguments])
    compare.main()
    printed = capsys.readouterr().out
    assert "hours of training steps" in printed
    assert not output.exists()
    return printed
