"""PPO with its weights in shares (FSDP2): two CPU processes give what one gives."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from tests.recipes.ppo_runs import TWO, gives_the_same, is_the_same_run, launch, make_place, words

FSDP = os.environ | {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
# Minibatches of three rows and a microbatch a row: one process computes two, the other one.
UNEVEN = ("--rollout_batch_size", "6", "--max_tokens_per_microbatch", "1")
PTX = ("--ptx_data", "{place}/texts.jsonl", "--ptx_coef", "0.3")
VARIANTS = [
    ("uneven", *UNEVEN, "--gradient_checkpointing", "true"),
    ("grpo", "--advantage", "grpo", *UNEVEN, *PTX),
    ("shared_trunk", "--mode", "shared_trunk", *PTX),
    ("held_out", "--eval_data", "{place}/prompts.jsonl", "--eval_steps", "1"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return make_place(tmp_path_factory.mktemp("ppo_fsdp"))


@pytest.fixture(scope="module")
def whole(place, root) -> Path:
    """The sharded run on two processes that nobody interrupted."""
    said = launch([*TWO, *words(place, "whole")], root, env=FSDP)
    assert "in 2 shares" in said
    return place / "whole"


def test_two_processes_with_a_share_each_give_what_one_gives(whole, place, root):
    launch(words(place, "one"), root)
    gives_the_same(place / "one", whole, atol=3e-5)
    AutoModelForCausalLM.from_pretrained(whole)


def test_killed_and_resumed_is_bit_for_bit_the_whole_run(whole, place, root):
    """Every process gets SIGKILL once the first checkpoint is there."""
    process = subprocess.Popen(
        [sys.executable, *TWO, *words(place, "killed")],
        cwd=root,
        env=FSDP,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while not (place / "killed" / "checkpoint-1").is_dir() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    again = words(place, "killed", "--resume_from_checkpoint", "latest")
    launch([*TWO, *again], root, env=FSDP)
    is_the_same_run(whole, place / "killed")


@pytest.mark.slow
def test_a_checkpoint_in_shares_goes_on_whole_and_the_other_way_round(place, root):
    """The files are the same: a step sharded and one not, or one not and one sharded."""
    flat = ("--lr_scheduler_type", "constant")
    latest = ("--resume_from_checkpoint", "latest")
    launch(words(place, "flat", *flat, steps=2), root)
    launch([*TWO, *words(place, "shares", *flat, steps=1)], root, env=FSDP)
    launch(words(place, "shares", *flat, *latest, steps=2), root)
    launch(words(place, "then", *flat, steps=1), root)
    launch([*TWO, *words(place, "then", *flat, *latest, steps=2)], root, env=FSDP)
    for name in ("shares", "then"):
        gives_the_same(place / "flat", place / name, atol=3e-5)


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant[0])
def test_every_mode_gives_in_shares_what_one_process_gives(place, root, variant):
    name, *more = variant
    given = [word.format(place=place) for word in more]
    launch(words(place, f"{name}1", *given), root)
    launch([*TWO, *words(place, f"{name}2", *given)], root, env=FSDP)
    gives_the_same(place / f"{name}1", place / f"{name}2", atol=1e-4)


@pytest.mark.parametrize(
    ("more", "env", "said"),
    [
        (("--mode", "lora"), FSDP, "mode=lora holds its one backbone whole"),
        ((), FSDP | {"FSDP_VERSION": "1"}, "fsdp_version=1, and 2 is what is applied"),
        ((), FSDP | {"FSDP_OFFLOAD_PARAMS": "true"}, "fsdp_offload_params=true, and false"),
    ],
)
def test_what_would_not_be_applied_stops_the_run_in_words(place, root, more, env, said):
    done = subprocess.run(
        [sys.executable, *words(place, "refused", *more)],
        cwd=root,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert not (place / "refused").exists()
