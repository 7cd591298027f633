"""Rounds of the pipeline on a tiny random model: two rounds, resumed, continued with votes."""

import json
import signal
import subprocess
import sys
import time

import pytest
import yaml

from rlhf.chat.votes import ComparedResponses, Votes
from rlhf.evaluation.core.config import NULL_BASELINES
from rlhf.evaluation.core.results import read_results
from rlhf.manifest import read_manifest
from rlhf.pipeline.round_comparison import Interval
from rlhf.pipeline.round_results import RoundResult, RoundResults
from rlhf.recipes.align import interval_text, summarize_rounds
from tests.recipes.test_align import ANNOTATORS, GOLD, PPO_KEYS, THINGS
from tests.tiny_models import make_model

FLAT = "def score(prompts, completions, **columns):\n    return [0.0] * len(completions)\n"
STAGES = ("labels", "reward_model", "ppo", "evaluation")


def _rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def _read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The keys of a pipeline with two rounds of two steps per stage."""
    folder = tmp_path_factory.mktemp("rounds")
    (folder / "gold.py").write_text(GOLD)
    (folder / "annotators.yaml").write_text(ANNOTATORS)
    demonstrations = [
        {"prompt": f"Where is the {t}?", "completion": f"In the {t}."} for t in THINGS
    ]
    steps = ["max_steps=2", "save_steps=1"]
    return {
        "model_name_or_path": str(make_model(folder / "model")),
        "demonstrations": _rows(folder / "demonstrations.jsonl", demonstrations),
        "ranking_prompts": _rows(folder / "rank.jsonl", [{"prompt": f"Name {t}."} for t in THINGS]),
        "ppo_prompts": _rows(folder / "ppo.jsonl", [{"prompt": f"Tell of {t}."} for t in THINGS]),
        "heldout_prompts": _rows(folder / "held.jsonl", [{"prompt": f"See {t}?"} for t in THINGS]),
        "annotators": str(folder / "annotators.yaml"),
        "gold": f"{folder}/gold.py:score",
        "num_responses": 3,
        "sample_max_new_tokens": 8,
        "skip_gate": True,
        "cpu_threads": 1,
        "sft_keys": [*steps, "sample_max_new_tokens=8"],
        "reward_model_keys": steps,
        "ppo_keys": [*steps, *PPO_KEYS],
        "evaluate_keys": ["num_generations=2", "max_completion_length=8", "bootstrap_samples=100"],
        "rounds": 2,
        "start_from": "last",
        "prompts_per_round": 6,
        "active_floor": 0.5,
        "round_decay": 0.5,
        "round_keys": [
            "2.ranking_prompts="
            + _rows(folder / "new.jsonl", [{"prompt": f"Draw {t}."} for t in THINGS])
        ],
    }


def _command(root, folder, config, *words):
    file = folder / "align.yaml"
    file.write_text(yaml.safe_dump(config))
    return [sys.executable, str(root / "recipes" / "align.py"), f"--config={file}", *words]


def _run(root, folder, config, *words, status=0):
    done = subprocess.run(
        _command(root, folder, config, *words), capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_two_rounds_then_a_third_with_votes(root, tmp_path, config):
    """Everything of two rounds; nothing again; a changed key; one round more with two votes."""
    folder = tmp_path / "run"
    config = {**config, "output_dir": str(folder)}
    output = _run(root, tmp_path, config)
    second = folder / "round-2"

    # The labels of round 2: six of twelve new prompts, joined to those of round 1.
    chosen = _read(second / "labels" / "chosen.jsonl")
    assert len(chosen) == 6
    assert all(row["prompt"].startswith("Draw") for row in chosen)
    assert {name for row in chosen for name in row["models"]} == {str(folder / "ppo")}
    rows = _read(second / "labels" / "rankings_train.jsonl")
    assert {(row["round"], row["weight"]) for row in rows} == {(1, 0.5), (2, 1.0)}
    held_out = _read(second / "labels" / "rankings_heldout.jsonl")
    assert not {row["prompt"] for row in rows} & {row["prompt"] for row in held_out}

    # The models of round 2.
    assert read_manifest(second / "ppo").base_model == str(folder / "ppo")
    assert "weight_column: weight" in (second / "reward_model" / "config.yaml").read_text()
    models = {r.model for r in read_results(second / "evaluation")}
    assert models == {"base", "sft", "round-1", "round-2", *NULL_BASELINES}

    # Over rounds.
    content = json.loads((folder / "rounds.json").read_text())
    assert [each["round"] for each in content["rounds"]] == [1, 2]
    assert content["rounds"][1]["comparison"]["against"] == 1
    strengths = [each["model"] for each in content["strengths"] if each["judge"] == "gold"]
    assert strengths == ["sft", "round-1", "round-2"]
    assert ">Rounds</h2>" in (folder / "report.html").read_text()
    assert "--continue" in output

    first = {path: path.stat().st_mtime_ns for path in (folder / "ppo").glob("*.safetensors")}
    output = _run(root, tmp_path, config)
    assert output.count("complete, inputs unchanged") == 9
    keys = json.dumps([*config["ppo_keys"], "kl_coef=0.5"])
    changed = {**config, "round_keys": [*config["round_keys"], f"2.ppo_keys={keys}"]}
    output = _run(root, tmp_path, changed)
    assert "round 2: ppo: inputs changed (kl_coef" in output
    assert (second / "ppo.old-1").is_dir()
    assert first == {p: p.stat().st_mtime_ns for p in (folder / "ppo").glob("*.safetensors")}

    with Votes(folder / "votes.sqlite", "ann") as votes:
        for index, vote in enumerate("12"):
            pair = ComparedResponses(
                prompt=f"Chat {index}", responses=["a cat", "a dog"], models=["x", "y"], blind=True
            )
            votes.vote(pair, vote)
    saved = ["--config", str(folder / "config.yaml"), "--continue", "--skip_plan"]
    done = subprocess.run(
        [sys.executable, str(root / "recipes" / "align.py"), *saved],
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "votes: 2 votes and 0 thumbs" in done.stdout
    labels = folder / "round-3" / "labels"
    everything = [
        row
        for name in ("rankings_train.jsonl", "rankings_heldout.jsonl")
        for row in _read(labels / name)
    ]
    chats = [row for row in everything if row["prompt"].startswith("Chat")]
    assert [(row["annotator"], row["round"], row["weight"]) for row in chats] == [
        ("ann", 3, 1.0)
    ] * 2
    assert "rounds: 3" in (folder / "config.yaml").read_text()
    assert json.loads((folder / "rounds.json").read_text())["rounds"][-1]["round"] == 3


@pytest.mark.slow
def test_interrupted_round_resumes_and_the_rule_stops(root, tmp_path, config):
    """SIGTERM while the reward model of round 2 trains: status 75, then the same command ends.

    All responses have the same gold score, so that round 2 wins exactly half of its comparisons
    with round 1, and there is no round 3.
    """
    folder = tmp_path / "run"
    (tmp_path / "flat.py").write_text(FLAT)
    config = {**config, "gold": f"{tmp_path}/flat.py:score", "output_dir": str(folder)}
    config |= {"rounds": 3, "prompts_per_round": None, "active_floor": None}
    chain = subprocess.Popen(_command(root, tmp_path, config), stdout=subprocess.DEVNULL)
    while not (folder / "round-2" / "reward_model" / "config.yaml").exists():
        assert chain.poll() is None
        time.sleep(0.2)
    chain.send_signal(signal.SIGTERM)
    assert chain.wait(120) == 75
    output = _run(root, tmp_path, config)
    assert output.count("complete, inputs unchanged") == 6
    assert "round 2: reward_model: resumes" in output
    assert "stopped after round 2: round 2 is not better than round 1" in output
    assert not list(folder.glob("**/*.old-*"))
    assert not (folder / "round-3").exists()
    content = json.loads((folder / "rounds.json").read_text())
    comparison = content["rounds"][1]["comparison"]
    assert (comparison["win_rate"]["value"], comparison["improved"]) == (0.5, False)
    assert content["best"] == 1
    assert f"{folder / 'ppo'} (round 1)" in output


def test_mistake_of_a_later_round_exits_before_the_first(root, tmp_path, config):
    broken = {**config, "output_dir": str(tmp_path / "run"), "round_keys": ["2.gold=nope.py:f"]}
    output = _run(root, tmp_path, broken, status=2)
    assert "nope.py" in output
    assert "Traceback" not in output
    assert not (tmp_path / "run").exists()


def test_dry_run_lists_every_round(root, tmp_path, config):
    output = _run(
        root, tmp_path, {**config, "output_dir": str(tmp_path / "run")}, "--dry_run", "--rounds=3"
    )
    for stage in STAGES:
        assert f"round 2: {stage}" in output
        assert f"round 3: {stage}" in output
    assert not (tmp_path / "run").exists()


def test_continue_without_a_round_exits(root, tmp_path, config):
    output = _run(
        root, tmp_path, {**config, "output_dir": str(tmp_path / "run")}, "--continue", status=2
    )
    assert "no-checkpoint" in output


def test_summary_has_a_row_per_round(tmp_path, capsys):
    rounds = [
        RoundResult(
            round=number,
            folder="." if number == 1 else "round-2",
            new_rankings=90,
            train_rankings=80,
            accuracy=None,
            proxy=Interval(value=0.9, low=0.85, high=0.95, mde=0.07),
            gold=None,
            gap=None,
            kl=None,
            length=None,
            comparison=None,
        )
        for number in (1, 2)
    ]
    results = RoundResults(rounds=rounds, strengths=[], best=2, stopped="")
    summarize_rounds(tmp_path, tmp_path / "report.html", results, "votes.sqlite")
    output = capsys.readouterr().out
    assert output.count("0.90 [0.85,0.95]") == 2
    assert output.count("± 0.07") == 2
    assert "(round 2)" in output
    assert "votes.sqlite" in output
    assert interval_text(None) == "–"
