"""PPO with sharded weights (FSDP2): two CPU processes give the same results as one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from tests.recipes.ppo_runs import (
    TWO_PROCESSES,
    assert_same_results,
    assert_same_run,
    launch,
    make_inputs,
    ppo_command,
)

FSDP = os.environ | {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
# Minibatches of three rows and one row per microbatch: one process computes two, the other one.
UNEVEN = ("--rollout_batch_size", "6", "--max_tokens_per_microbatch", "1")
PTX = ("--ptx_data", "{inputs}/texts.jsonl", "--ptx_coef", "0.3")
VARIANTS = [
    ("uneven", *UNEVEN, "--gradient_checkpointing", "true"),
    ("grpo", "--advantage", "grpo", *UNEVEN, *PTX),
    ("shared_trunk", "--mode", "shared_trunk", *PTX),
    ("held_out", "--eval_data", "{inputs}/prompts.jsonl", "--eval_steps", "1"),
]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    return make_inputs(tmp_path_factory.mktemp("ppo_fsdp"))


@pytest.fixture(scope="module")
def uninterrupted(inputs, root) -> Path:
    """The sharded run on two processes without interruption."""
    output = launch([*TWO_PROCESSES, *ppo_command(inputs, "whole")], root, env=FSDP)
    assert "in 2 shards" in output
    return inputs / "whole"


def test_sharded_processes_equal_one_process(uninterrupted, inputs, root):
    launch(ppo_command(inputs, "one"), root)
    assert_same_results(inputs / "one", uninterrupted, atol=3e-5)
    AutoModelForCausalLM.from_pretrained(uninterrupted)


def test_killed_and_resumed_sharded_run_is_bit_identical(uninterrupted, inputs, root):
    """All processes get SIGKILL after the first checkpoint."""
    process = subprocess.Popen(
        [sys.executable, *TWO_PROCESSES, *ppo_command(inputs, "killed")],
        cwd=root,
        env=FSDP,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while not (inputs / "killed" / "checkpoint-1").is_dir() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    resumed = ppo_command(inputs, "killed", "--resume_from_checkpoint", "latest")
    launch([*TWO_PROCESSES, *resumed], root, env=FSDP)
    assert_same_run(uninterrupted, inputs / "killed")


@pytest.mark.slow
def test_resume_switches_between_sharded_and_unsharded(inputs, root):
    """One sharded step and one without sharding, in both orders; the files are compatible."""
    flat = ("--lr_scheduler_type", "constant")
    latest = ("--resume_from_checkpoint", "latest")
    launch(ppo_command(inputs, "flat", *flat, steps=2), root)
    launch([*TWO_PROCESSES, *ppo_command(inputs, "shares", *flat, steps=1)], root, env=FSDP)
    launch(ppo_command(inputs, "shares", *flat, *latest, steps=2), root)
    launch(ppo_command(inputs, "then", *flat, steps=1), root)
    launch([*TWO_PROCESSES, *ppo_command(inputs, "then", *flat, *latest, steps=2)], root, env=FSDP)
    for name in ("shares", "then"):
        assert_same_results(inputs / "flat", inputs / name, atol=3e-5)


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant[0])
def test_every_mode_gives_the_same_results_sharded(inputs, root, variant):
    name, *extra = variant
    options = [option.format(inputs=inputs) for option in extra]
    launch(ppo_command(inputs, f"{name}1", *options), root)
    launch([*TWO_PROCESSES, *ppo_command(inputs, f"{name}2", *options)], root, env=FSDP)
    assert_same_results(inputs / f"{name}1", inputs / f"{name}2", atol=1e-4)


@pytest.mark.parametrize(
    ("extra", "env", "code", "value"),
    [
        (("--mode", "lora"), FSDP, "unsupported", "mode=lora"),
        ((), FSDP | {"FSDP_VERSION": "1"}, "bad-launch", "fsdp_version=1"),
        ((), FSDP | {"FSDP_OFFLOAD_PARAMS": "true"}, "bad-launch", "fsdp_offload_params=true"),
    ],
)
def test_unsupported_sharding_settings_stop_the_run(inputs, root, extra, env, code, value):
    process = subprocess.run(
        [sys.executable, *ppo_command(inputs, "rejected", *extra)],
        cwd=root,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 2
    assert f"[{code}]" in process.stderr
    assert value in process.stderr
    assert not (inputs / "rejected").exists()
