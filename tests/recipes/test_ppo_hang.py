"""PPO on two gloo processes, one of which hangs, with the default time limit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.recipes.ppo_runs import TWO_PROCESSES, make_inputs, ppo_command

# Hangs in the second iteration, only on rank 1. The file marks the start of the hang.
REWARD = """
import os, time
from pathlib import Path

calls = 0

def vowels(prompts, completions, number):
    global calls
    calls += 1
    if calls == 3 and os.environ["RANK"] == "1":
        Path("{folder}/hangs").write_text(f"{{os.getpid()}}")
        {statement}
    return [sum(c in "aeiou" for c in text) / 4 for text in completions]
"""
HANGS = {
    "sleeps": ("time.sleep(900)", "it has done nothing, in vowels (reward.py, line 12),"),
    "is stopped": ("time.sleep(0)", "its process has been stopped"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", HANGS)
def test_hanging_rank_ends_the_run_within_a_minute(tmp_path, root, kind):
    inputs = make_inputs(tmp_path)
    statement, activity = HANGS[kind]
    (inputs / "reward.py").write_text(REWARD.format(folder=inputs, statement=statement))
    command = ppo_command(inputs, "run", "--eval_data", f"{inputs}/prompts.jsonl", steps=500)
    process = subprocess.Popen(
        [sys.executable, *TWO_PROCESSES, *command], cwd=root, stderr=subprocess.PIPE, text=True
    )
    hung_at = _wait_for(inputs / "hangs")
    if kind == "is stopped":
        os.kill(int((inputs / "hangs").read_text()), signal.SIGSTOP)
    _, errors = process.communicate(timeout=120)
    assert time.monotonic() - hung_at < 60
    assert process.returncode == 1
    sentence = f"ppo.py: rank 1 hangs: for 40 s {activity} while the others wait for it; "
    assert errors.count(sentence) == 1, errors
    assert (inputs / "run" / "checkpoint-1").is_dir()


def _wait_for(path: Path) -> float:
    end = time.monotonic() + 150
    while not (path.is_file() and path.read_text()):
        assert time.monotonic() < end, f"{path} was not written"
        time.sleep(0.05)
    return time.monotonic()
