"""Rejection sampling: the best of K, statistics, two rounds, skipped and changed stages."""

import json
import math
import subprocess
import sys

import pytest
import yaml
from transformers import AutoModelForCausalLM

from rlhf.manifest import read_manifest
from rlhf.pipeline.best_responses import Scored, best_of, score_candidates, select, stats_of
from rlhf.pipeline.rejection_config import RejectionConfig
from rlhf.rewards.reward import load_reward
from tests.errors import raises
from tests.tiny_models import make_model

THINGS = "ball box cat dog bird sea tree house sun moon car boat".split()
GOLD = """
def vowels(prompts, completions, **columns):
    return [float(sum(c in "aeiou" for c in text)) for text in completions]
"""
CONFIG = {"model_name_or_path": "m", "train_data": "p.jsonl"}


def row(responses, scores, **columns):
    return Scored(prompt="Hi", responses=responses, scores=scores, columns=columns)


def test_best_responses_are_different_texts_in_order():
    """`b` twice counts once; a blank one and one without a score are left out."""
    scored = row(["a", "b", " b", "c", " ", "d"], [1.0, 3.0, 3.0, 2.0, 9.0, math.nan])
    assert best_of(scored, keep=2, min_score=None) == [("b", 3.0), ("c", 2.0)]
    assert best_of(scored, keep=9, min_score=1.5) == [("b", 3.0), ("c", 2.0)]
    assert best_of(row(["x", "y"], [1.0, 1.0]), keep=1, min_score=None) == [("x", 1.0)]
    # A function may score the space too.
    scored = row(["a", "b", " a"], [3.0, 2.0, 1.0])
    assert best_of(scored, keep=1, min_score=None) == [("a", 3.0)]


def test_statistics_of_a_round():
    """Means of 1, 2, 3 and of the best of each prompt, 2 and 3; one response has no score."""
    rows = [row(["a", "b"], [1.0, 2.0]), row(["c", "d"], [3.0, math.nan])]
    stats = stats_of(rows, [("b", 2.0), ("c", 3.0)])
    assert (stats.mean_score, stats.best_score, stats.kept_score) == (2.0, 2.5, 2.5)
    assert (stats.prompts, stats.kept, stats.skipped) == (2, 2, 1)


def test_responses_are_scored_with_their_columns_and_selected(tmp_path):
    def longer(prompts, completions, number):
        return [len(text) * n for text, n in zip(completions, number, strict=True)]

    candidates = tmp_path / "candidates.jsonl"
    rows = [
        {"prompt": "Hi", "responses": ["a", "abc"], "models": ["m", "m"], "number": 1},
        {"prompt": "Who?", "responses": ["a", "abc"], "models": ["m", "m"], "number": -1},
    ]
    candidates.write_text("".join(json.dumps(row) + "\n" for row in rows))
    reward = load_reward(longer)
    stats = select(tmp_path, reward, candidates=candidates, keep=1, min_score=None)
    best = [json.loads(line) for line in (tmp_path / "best.jsonl").read_text().splitlines()]
    assert [(r["prompt"], r["completion"], r["score"]) for r in best] == [
        ("Hi", "abc", 3.0), ("Who?", "a", -1.0)
    ]  # fmt: skip
    assert stats.mean_score == 0.0
    with raises("no-rows", "min_score"):
        select(tmp_path, reward, candidates=candidates, keep=1, min_score=10.0)
    assert score_candidates(reward, [row(["a"], [], number=2)])[0].scores == [2.0]


@pytest.mark.parametrize(
    ("keys", "code", "name"),
    [
        ({"keep": 8}, "key-conflict", "keep=8"),
        ({"num_rounds": 0}, "bad-value", "num_rounds=0"),
        ({"sample_temperature": 0.0}, "bad-value", "sample_temperature"),
        ({"sft_keys": ["max_steps"]}, "bad-value", "sft_keys"),
    ],
)
def test_key_that_cannot_be_used_raises(keys, code, name):
    with raises(code, name):
        RejectionConfig(**CONFIG, **keys)


def _run(root, folder, config, *words, status=0):
    file = folder / "rejection.yaml"
    file.write_text(yaml.safe_dump(config))
    command = [sys.executable, str(root / "recipes" / "rejection_sampling.py"), f"--config={file}"]
    done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=600)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_rounds_raise_the_score_and_are_skipped_when_complete(root, tmp_path):
    """Two rounds by the number of vowels: the second round samples from the first one's policy."""
    (tmp_path / "gold.py").write_text(GOLD)
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"Name {t}."}) + "\n" for t in THINGS * 2))
    config = {
        "model_name_or_path": str(make_model(tmp_path / "model")),
        "train_data": str(prompts),
        "reward": [f"{tmp_path}/gold.py:vowels"],
        "output_dir": str(tmp_path / "run"),
        "num_rounds": 2,
        "num_responses": 8,
        "sample_max_new_tokens": 8,
        "cpu_threads": 1,
        "sft_keys": [
            "max_steps=20", "learning_rate=0.003", "per_device_train_batch_size=8",
            "max_length=64", "packing=false", "num_samples=0", "bf16=false", "eval_fraction=0.2",
        ],
    }  # fmt: skip
    printed = _run(root, tmp_path, config, "--dry_run", "true")
    assert "2 rounds of 8 responses to each of 24 prompts" in printed
    assert not (tmp_path / "run").exists()
    _run(root, tmp_path, config)
    stats = [
        json.loads((tmp_path / "run" / f"round-{n}" / "responses" / "stats.json").read_text())
        for n in (1, 2)
    ]
    assert stats[0]["best_score"] > stats[0]["mean_score"]
    assert stats[1]["mean_score"] > stats[0]["mean_score"]
    policy = tmp_path / "run" / "round-2" / "sft"
    assert read_manifest(policy).base_model == str(tmp_path / "run" / "round-1" / "sft")
    assert AutoModelForCausalLM.from_pretrained(policy)
    again = _run(root, tmp_path, config)
    assert again.count("complete, inputs unchanged") == 4
    changed = _run(root, tmp_path, {**config, "keep": 2})
    assert changed.count("inputs changed") >= 2
    assert (tmp_path / "run" / "round-1" / "responses.old-1").is_dir()


def test_shipped_file_is_checked(root, tmp_path):
    (tmp_path / "gold.py").write_text(GOLD)
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "Name a cat."}\n')
    replaced = {
        "model_name_or_path": str(make_model(tmp_path / "model")),
        "train_data": str(prompts),
        "reward": [f"{tmp_path}/gold.py:vowels"],
        "output_dir": str(tmp_path / "run"),
    }
    shipped = yaml.safe_load((root / "recipes/pocket/rejection_sampling.yaml").read_text())
    printed = _run(root, tmp_path, shipped | replaced, "--dry_run", "true")
    assert "2 rounds of 8 responses to each of 1 prompt," in printed


@pytest.mark.slow
def test_mistakes_stop_before_the_first_round(root, tmp_path):
    (tmp_path / "gold.py").write_text(GOLD)
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "Hi"}\n{"text": "x"}\n')
    config = {
        "model_name_or_path": str(make_model(tmp_path / "model")),
        "train_data": str(tmp_path / "prompts.jsonl"),
        "reward": [f"{tmp_path}/gold.py:vowels"],
        "output_dir": str(tmp_path / "run"),
        "sample_max_new_tokens": 8,
    }
    assert "no prompt" in _run(root, tmp_path, config, status=2)
    assert "reward" in _run(root, tmp_path, {**config, "reward": []}, status=2)
    wrong = {**config, "sft_keys": ["no_such_key=1"]}
    assert "no_such_key" in _run(root, tmp_path, wrong, status=2)
    assert not (tmp_path / "run" / "round-1").exists()
