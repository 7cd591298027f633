"""recipes/ppo.py as it is launched: one process, two, killed and resumed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForCausalLM

from rlhf.manifest import CRITIC_WEIGHTS, check_folder, read_manifest
from rlhf.runtime.run_folder import checkpoints
from tests.recipes.ppo_runs import (
    TWO,
    gives_the_same,
    is_the_same_run,
    kill_after,
    launch,
    make_place,
    words,
)

VARIANTS = [
    ("--advantage", "grpo", "--ptx_data", "{place}/texts.jsonl", "--ptx_coef", "0.3"),
    ("--advantage", "rloo", "--importance_weight_cap", "2"),
    ("--mode", "shared_trunk"),
    ("--mode", "lora", "--lora_r", "4"),
    pytest.param(
        ("--compile", "true"),
        marks=pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler"),
    ),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return make_place(tmp_path_factory.mktemp("ppo_run"))


@pytest.fixture(scope="module")
def whole(place, root) -> Path:
    """The run on one process that nobody interrupted."""
    launch(words(place, "whole"), root)
    return place / "whole"


def test_the_run_folder_is_complete(whole, root, place):
    AutoModelForCausalLM.from_pretrained(whole)
    manifest = json.loads((whole / "manifest.json").read_text())
    assert manifest["stage"] == "ppo"
    assert manifest["data"][0]["rows"] == 12
    assert [json.loads(x)["step"] for x in (whole / "metrics.jsonl").open()] == [1, 2, 3]
    for name in ("best", "worst", "random"):
        rows = [json.loads(x) for x in (whole / "samples" / f"{name}.jsonl").open()]
        assert rows[0]["answers"].keys() == {"before", "after"}
    kept = checkpoints(whole)[-1]
    assert (kept / CRITIC_WEIGHTS).is_file()
    check_folder(kept, read_manifest(kept))  # the policy in it can be talked to
    refused = launch(words(place, "whole"), root, status=2)
    assert "already holds a run" in refused


def test_tokens_and_prompts_are_there_to_be_drawn(whole):
    """Numbers beside every token, their KL that of the log-probs; one embedding a prompt."""
    lines = (whole / "samples" / "tokens.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert {row["kind"] for row in rows} == {"best", "worst"}
    for row in rows:
        for key in ("logprobs", "kl", "advantages", "values"):
            assert len(row[key]) == len(row["tokens"])
        assert max(row["logprobs"]) <= 0
    content = np.load(whole / "samples" / "embeddings.npz")
    assert content["embeddings"].shape == (4, 32)
    assert len(set(content["prompts"])) == 4
    assert np.isfinite(content["scores"]).all()
    page = (whole / "report.html").read_text()
    assert "Token by token" in page
    assert "Map of prompts" in page


def test_two_processes_give_what_one_gives(whole, place, root):
    launch([*TWO, *words(place, "two")], root)
    gives_the_same(whole, place / "two", atol=3e-5)


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_two_processes_give_what_one_gives_in_every_mode(place, root, variant):
    name = variant[1]
    given = [word.format(place=place) for word in variant]
    launch(words(place, f"{name}1", *given), root)
    launch([*TWO, *words(place, f"{name}2", *given)], root)
    gives_the_same(place / f"{name}1", place / f"{name}2", atol=1e-4)


def test_killed_and_resumed_is_bit_for_bit_the_whole_run(whole, place, root):
    process = subprocess.Popen(
        [sys.executable, *words(place, "killed")],
        cwd=root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    while not (place / "killed" / "checkpoint-1").is_dir() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    launch(words(place, "killed", "--resume_from_checkpoint", "latest"), root)
    is_the_same_run(whole, place / "killed")


@pytest.mark.slow
def test_killed_again_and_again_at_any_moment_it_still_is_the_whole_run(place, root):
    """Killed ever later, wherever that is: loading, sampling, writing a checkpoint or best/."""
    more = ["--eval_data", f"{place}/prompts.jsonl", "--eval_steps", "1", "--target_kl", "0.01"]
    started = time.monotonic()
    launch(words(place, "calm", *more, steps=6), root)
    whole_time = time.monotonic() - started
    resume = [*more, "--resume_from_checkpoint", "latest"]
    for share in (0.4, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9):
        kill_after(words(place, "hunted", *resume, steps=6), root, share * whole_time)
    launch(words(place, "hunted", *resume, steps=6), root)
    is_the_same_run(place / "calm", place / "hunted", steps=6)
    kept = [folder / "best" for folder in (place / "calm", place / "hunted")]
    assert kept[0].is_dir() == kept[1].is_dir()


def test_sigterm_ends_with_75_after_a_checkpoint(place, root):
    process = subprocess.Popen(
        [sys.executable, *words(place, "stopped", steps=500)],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 300
    while not (place / "stopped" / "metrics.jsonl").is_file() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 75, output
    assert "--resume_from_checkpoint latest" in output
