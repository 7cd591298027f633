"""PPO on two gloo processes of which one hangs, with the seconds that a run has by default."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.recipes.ppo_runs import TWO, make_place, words

# Of the second iteration, and of rank 1 alone. The file says when it began.
REWARD = """
import os, time
from pathlib import Path

calls = 0

def vowels(prompts, completions, number):
    global calls
    calls += 1
    if calls == 3 and os.environ["RANK"] == "1":
        Path("{folder}/hangs").write_text(f"{{os.getpid()}}")
        {hangs}
    return [sum(c in "aeiou" for c in text) / 4 for text in completions]
"""
HANGS = {
    "sleeps": ("time.sleep(900)", "it has done nothing, in vowels (reward.py, line 12),"),
    "is stopped": ("time.sleep(0)", "its process has been stopped"),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", HANGS)
def test_a_rank_that_hangs_ends_the_run_within_a_minute_and_is_named(tmp_path, root, how):
    place = make_place(tmp_path)
    hangs, why = HANGS[how]
    (place / "reward.py").write_text(REWARD.format(folder=place, hangs=hangs))
    given = words(place, "run", "--eval_data", f"{place}/prompts.jsonl", steps=500)
    process = subprocess.Popen(
        [sys.executable, *TWO, *given], cwd=root, stderr=subprocess.PIPE, text=True
    )
    since = _wait_for(place / "hangs")
    if how == "is stopped":
        os.kill(int((place / "hangs").read_text()), signal.SIGSTOP)
    _, errors = process.communicate(timeout=120)
    assert time.monotonic() - since < 60
    assert process.returncode == 1
    sentence = f"ppo.py: rank 1 hangs: for 40 s {why} while the others wait for it; "
    assert errors.count(sentence) == 1, errors
    assert (place / "run" / "checkpoint-1").is_dir()


def _wait_for(path: Path) -> float:
    end = time.monotonic() + 150
    while not (path.is_file() and path.read_text()):
        assert time.monotonic() < end, f"{path} did not come"
        time.sleep(0.05)
    return time.monotonic()
