"""One run at a time in a folder: who holds it, and that a dead process does not."""

import os
import re
import socket
import subprocess
import sys
import time

import psutil
import pytest

from rlhf.errors import ConfigError
from rlhf.runtime.run_folder import RunConfig, open_run_folder
from rlhf.runtime.run_lock import LOCK, Holder, check_not_locked, hold, locked, may_run, release

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
def test_a_second_process_is_told_who_holds_the_folder_and_since_when(tmp_path, holder, attempt):
    with pytest.raises(ConfigError) as caught:
        attempt(tmp_path)
    said = re.escape(f"output_dir {tmp_path} is in use by process {holder.pid} on ")
    since = r" since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}; wait for that run, end it, or name"
    assert re.match(said + re.escape(socket.gethostname()) + since, str(caught.value))


def test_a_process_that_was_killed_holds_nothing(tmp_path, holder):
    holder.kill()  # and nobody has asked for its status yet
    hold(tmp_path)
    release(tmp_path)


def test_a_child_of_a_killed_process_does_not_hold_what_that_held(tmp_path):
    """A loader's worker, made by fork, may outlive the run by seconds."""
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


def test_a_process_may_open_its_folder_again_but_not_run_two_chains_in_it(tmp_path):
    hold(tmp_path)
    hold(tmp_path)
    check_not_locked(tmp_path)
    with pytest.raises(ConfigError, match=f"in use by process {os.getpid()} "), locked(tmp_path):
        pass
    release(tmp_path)
    with locked(tmp_path):
        pass
    assert (tmp_path / LOCK).read_text() == ""


def test_asking_makes_no_file(tmp_path):
    check_not_locked(tmp_path)
    check_not_locked(tmp_path / "not there")
    assert list(tmp_path.iterdir()) == []


def test_where_a_file_system_knows_no_locks_the_file_decides():
    """The same host: the process and its start, since ids come again. Another host: it runs."""
    here, me = socket.gethostname(), psutil.Process()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert may_run(Holder(here, me.pid, me.create_time(), ""))
    assert not may_run(Holder(here, me.pid, me.create_time() - 100, ""))
    assert not may_run(Holder(here, gone.pid, me.create_time(), ""))
    assert may_run(Holder("another", gone.pid, 0.0, ""))
    assert not may_run(None)


def test_a_run_holds_its_folder_until_it_ends(tmp_path):
    open_run_folder(RunConfig(output_dir=str(tmp_path)))
    words = [sys.executable, "-c", HOLD, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert f"in use by process {os.getpid()} on" in done.stderr
    release(tmp_path)


def test_every_recipe_refuses_a_folder_in_use_before_it_reads_data(tmp_path, holder, root):
    """New, resumed and overwriting; what lies there is left as it is."""
    recipes = ["sft", "reward_model", "ppo", "evaluate", "align", "pretrain"]
    (tmp_path / "config.yaml").write_text("output_dir: x\n")
    words = [sys.executable, "-c", RECIPES, str(tmp_path), *recipes]
    done = subprocess.run(words, capture_output=True, text=True, cwd=root)
    sentence = f": output_dir {tmp_path} is in use by process {holder.pid} on "
    said = [line.partition(sentence)[0] for line in done.stdout.splitlines() if sentence in line]
    assert said == [name for name in recipes for _ in range(2 if name == "pretrain" else 3)], done
    assert sorted(path.name for path in tmp_path.iterdir()) == [LOCK, "config.yaml"]


def test_of_two_runs_at_once_one_goes_on(tmp_path):
    """Both have passed the first look, which holds nothing."""
    code = (
        "import sys, time\n"
        "from rlhf.runtime.run_folder import RunConfig, claim_run_folder, open_run_folder\n"
        "run = RunConfig(output_dir=sys.argv[1], resume_from_checkpoint='latest')\n"
        "claim_run_folder(run)\n"
        "time.sleep(max(0, float(sys.argv[2]) - time.time()))\n"
        "open_run_folder(run)\n"
        "time.sleep(4)\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "run"), str(time.time() + 15)]
    both = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [process.communicate()[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 1]
    assert sum("is in use by process" in error for error in errors) == 1


def test_the_lock_is_no_part_of_what_is_deleted_or_uploaded():
    from rlhf.runtime.run_folder import MADE
    from rlhf.training.common.publish import LEFT_OUT

    assert LOCK not in MADE
    assert LOCK in LEFT_OUT
