"""One run at a time in a folder; a dead process holds no lock."""

import os
import re
import socket
import subprocess
import sys

import psutil
import pytest

from rlhf.runtime.run_folder import RunConfig, open_run_folder
from rlhf.runtime.run_lock import LOCK, Holder, check_not_locked, hold, locked, may_run, release
from tests.errors import raises

HOLD = """
import sys, time
from pathlib import Path
from rlhf.runtime.run_lock import hold
hold(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""
RECIPES = """
import runpy, sys
from rlhf.errors import RLHFError
for recipe in sys.argv[2:]:
    words = sys.argv[:]
    keys = {
        "sft": ["--model_name_or_path", "data/pocket/model", "--train_data", "no.jsonl"],
        "reward_model": ["--model_name_or_path", "data/pocket/model", "--train_data", "no.jsonl"],
        "dpo": ["--model_name_or_path", "data/pocket/model", "--train_data", "no.jsonl"],
        "kto": ["--model_name_or_path", "data/pocket/model", "--train_data", "no.jsonl"],
        "ppo": ["--model_name_or_path", "data/pocket/model", "--train_data", "no.jsonl",
                "--reward", "no.py:f", "--max_steps", "1"],
        "evaluate": ["--models", "a=data/pocket/model", "--eval_data", "no.jsonl"],
        "align": ["--config", "recipes/pocket/align.yaml"],
        "pretrain": [],
    }[recipe]
    main = runpy.run_path(f"recipes/{recipe}.py")["main"]
    for more in ([], ["--resume_from_checkpoint", "latest"], ["--overwrite"]):
        if recipe == "pretrain" and more == ["--overwrite"]:
            continue
        sys.argv[:] = [recipe, *keys, "--output_dir", words[1], *more]
        try:
            main()
        except RLHFError as error:
            print(f"{recipe}: {error}", flush=True)
    sys.argv[:] = words
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds tmp_path."""
    words = [sys.executable, "-c", HOLD, str(tmp_path)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("attempt", [hold, check_not_locked])
def test_second_process_gets_an_error_that_names_the_holder(tmp_path, holder, attempt):
    with raises("run-locked", tmp_path, holder.pid, socket.gethostname()) as caught:
        attempt(tmp_path)
    assert re.search(r" since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}", str(caught.value))


def test_killed_process_holds_nothing(tmp_path, holder):
    holder.kill()  # it is a zombie now
    hold(tmp_path)
    release(tmp_path)


def test_forked_child_does_not_keep_the_lock_of_its_parent(tmp_path):
    """A forked worker of a data loader may outlive the run by seconds."""
    code = HOLD.replace("print(", "import os\nif os.fork() == 0: time.sleep(60)\nprint(")
    words = [sys.executable, "-c", code, str(tmp_path)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    [child] = psutil.Process(process.pid).children()
    process.kill()
    process.wait()
    assert child.is_running()
    hold(tmp_path)
    release(tmp_path)
    child.kill()
    process.stdout.close()


def test_process_may_hold_again_but_not_lock_twice(tmp_path):
    hold(tmp_path)
    hold(tmp_path)
    check_not_locked(tmp_path)
    with raises("run-locked", os.getpid()), locked(tmp_path):
        pass
    release(tmp_path)
    with locked(tmp_path):
        pass
    assert (tmp_path / LOCK).read_text() == ""


def test_check_creates_no_file(tmp_path):
    check_not_locked(tmp_path)
    check_not_locked(tmp_path / "not there")
    assert list(tmp_path.iterdir()) == []


def test_without_file_locks_the_file_content_decides():
    """On this host: process id and start time, since ids are reused. On another host: it runs."""
    host, process = socket.gethostname(), psutil.Process()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert may_run(Holder(host, process.pid, process.create_time(), ""))
    assert not may_run(Holder(host, process.pid, process.create_time() - 100, ""))
    assert not may_run(Holder(host, ended.pid, process.create_time(), ""))
    assert may_run(Holder("another", ended.pid, 0.0, ""))
    assert not may_run(None)


def test_run_holds_its_folder_until_it_ends(tmp_path):
    open_run_folder(RunConfig(output_dir=str(tmp_path)))
    words = [sys.executable, "-c", HOLD, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert f"in use by process {os.getpid()} on" in done.stderr
    release(tmp_path)


def test_every_recipe_rejects_a_folder_in_use_before_reading_data(tmp_path, holder, root):
    """Whether new, resumed or overwriting; the files there stay."""
    recipes = ["sft", "reward_model", "dpo", "kto", "ppo", "evaluate", "align", "pretrain"]
    (tmp_path / "config.yaml").write_text("output_dir: x\n")
    words = [sys.executable, "-c", RECIPES, str(tmp_path), *recipes]
    done = subprocess.run(words, capture_output=True, text=True, cwd=root)
    sentence = f": output_dir {tmp_path} is in use by process {holder.pid} on "
    names = [line.partition(sentence)[0] for line in done.stdout.splitlines() if sentence in line]
    assert names == [name for name in recipes for _ in range(2 if name == "pretrain" else 3)], done
    assert sorted(path.name for path in tmp_path.iterdir()) == [LOCK, "config.yaml"]


def test_only_one_of_two_simultaneous_runs_continues(tmp_path):
    """Both have passed the first check, which takes no lock."""
    code = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from rlhf.runtime.run_folder import RunConfig, claim_run_folder, open_run_folder\n"
        "run = RunConfig(output_dir=sys.argv[1], resume_from_checkpoint='latest')\n"
        "claim_run_folder(run)\n"
        "ready = Path(sys.argv[2])\n"
        "(ready / str(os.getpid())).touch()\n"
        "while len(os.listdir(ready)) < 2: time.sleep(0.01)\n"
        "open_run_folder(run)\n"
        "time.sleep(4)\n"
    )
    ready = tmp_path / "ready"
    ready.mkdir()
    words = [sys.executable, "-c", code, str(tmp_path / "run"), str(ready)]
    both = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [process.communicate()[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 1]
    assert sum("is in use by process" in error for error in errors) == 1


def test_lock_file_is_neither_deleted_nor_uploaded():
    from rlhf.runtime.run_folder import MADE
    from rlhf.training.common.publish import NOT_UPLOADED

    assert LOCK not in MADE
    assert LOCK in NOT_UPLOADED
