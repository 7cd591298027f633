"""recipes/ppo.py launched with one process and two, killed and resumed."""

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
    TWO_PROCESSES,
    assert_same_results,
    assert_same_run,
    kill_after,
    launch,
    make_inputs,
    ppo_command,
)

VARIANTS = [
    ("--advantage", "grpo", "--ptx_data", "{inputs}/texts.jsonl", "--ptx_coef", "0.3"),
    ("--advantage", "rloo", "--importance_weight_cap", "2"),
    ("--loss_type", "dapo", "--advantage", "dr_grpo", "--dynamic_sampling", "2"),
    ("--surrogate", "cispo", "--clip_range_high", "4", "--entropy_coef", "0.01"),
    ("--loss_type", "sequence-mean", "--advantage", "remax", "--mask_truncated", "true"),
    ("--mode", "shared_trunk"),
    ("--mode", "lora", "--lora_r", "4"),
    pytest.param(
        ("--compile", "true"),
        marks=pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler"),
    ),
]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    return make_inputs(tmp_path_factory.mktemp("ppo_run"))


@pytest.fixture(scope="module")
def uninterrupted(inputs, root) -> Path:
    """The run on one process without interruption."""
    launch(ppo_command(inputs, "whole"), root)
    return inputs / "whole"


def test_run_folder_is_complete(uninterrupted, root, inputs):
    AutoModelForCausalLM.from_pretrained(uninterrupted)
    manifest = json.loads((uninterrupted / "manifest.json").read_text())
    assert manifest["stage"] == "ppo"
    assert manifest["data"][0]["rows"] == 12
    assert [json.loads(x)["step"] for x in (uninterrupted / "metrics.jsonl").open()] == [1, 2, 3]
    for name in ("best", "worst", "random"):
        rows = [json.loads(x) for x in (uninterrupted / "samples" / f"{name}.jsonl").open()]
        assert rows[0]["answers"].keys() == {"before", "after"}
    best = checkpoints(uninterrupted)[-1]
    assert (best / CRITIC_WEIGHTS).is_file()
    check_folder(best, read_manifest(best))  # its policy can be loaded by chat
    output = launch(ppo_command(inputs, "whole"), root, status=2)
    assert "run-exists" in output


def test_report_has_token_metrics_and_prompt_embeddings(uninterrupted):
    """Every token has its metrics, and every prompt one embedding."""
    lines = (uninterrupted / "samples" / "tokens.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert {row["kind"] for row in rows} == {"best", "worst"}
    for row in rows:
        for key in ("logprobs", "kl", "advantages", "values"):
            assert len(row[key]) == len(row["tokens"])
        assert max(row["logprobs"]) <= 0
    content = np.load(uninterrupted / "samples" / "embeddings.npz")
    assert content["embeddings"].shape == (4, 32)
    assert len(set(content["prompts"])) == 4
    assert np.isfinite(content["scores"]).all()
    page = (uninterrupted / "report.html").read_text()
    assert "Token by token" in page
    assert "Prompt map" in page


def test_two_processes_equal_one_process(uninterrupted, inputs, root):
    launch([*TWO_PROCESSES, *ppo_command(inputs, "two")], root)
    assert_same_results(uninterrupted, inputs / "two", atol=3e-5)


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_two_processes_equal_one_process_in_every_mode(inputs, root, variant):
    name = variant[1]
    options = [option.format(inputs=inputs) for option in variant]
    launch(ppo_command(inputs, f"{name}1", *options), root)
    launch([*TWO_PROCESSES, *ppo_command(inputs, f"{name}2", *options)], root)
    assert_same_results(inputs / f"{name}1", inputs / f"{name}2", atol=1e-4)


def test_killed_and_resumed_run_is_bit_identical(uninterrupted, inputs, root):
    process = subprocess.Popen(
        [sys.executable, *ppo_command(inputs, "killed")],
        cwd=root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    while not (inputs / "killed" / "checkpoint-1").is_dir() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    launch(ppo_command(inputs, "killed", "--resume_from_checkpoint", "latest"), root)
    assert_same_run(uninterrupted, inputs / "killed")


@pytest.mark.slow
def test_run_killed_repeatedly_at_any_time_is_bit_identical(inputs, root):
    """Killed at later and later times: in loading, sampling, writing a checkpoint or best/."""
    extra = ["--eval_data", f"{inputs}/prompts.jsonl", "--eval_steps", "1", "--target_kl", "0.01"]
    started = time.monotonic()
    launch(ppo_command(inputs, "calm", *extra, steps=6), root)
    total_seconds = time.monotonic() - started
    resume = [*extra, "--resume_from_checkpoint", "latest"]
    for share in (0.4, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9):
        kill_after(ppo_command(inputs, "hunted", *resume, steps=6), root, share * total_seconds)
    launch(ppo_command(inputs, "hunted", *resume, steps=6), root)
    assert_same_run(inputs / "calm", inputs / "hunted", steps=6)
    best = [folder / "best" for folder in (inputs / "calm", inputs / "hunted")]
    assert best[0].is_dir() == best[1].is_dir()


def test_sigterm_exits_with_75_after_a_checkpoint(inputs, root):
    process = subprocess.Popen(
        [sys.executable, *ppo_command(inputs, "stopped", steps=500)],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 300
    while not (inputs / "stopped" / "metrics.jsonl").is_file() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 75, output
    assert "--resume_from_checkpoint latest" in output
