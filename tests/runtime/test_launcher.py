"""`rlhf launch` in subprocesses: statuses, signals, the failed rank, no process left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from rlhf.runtime.agent import first_failure
from rlhf.runtime.launcher import (
    LAUNCH_OPTIONS,
    _split_options,
    launch_module,
    main,
    own_environment,
    shell_status,
)
from tests.errors import raises

ROOT = Path(__file__).resolve().parents[2]
# No torch: this tests the launcher.
RECIPE = """
import os, sys, time
from pathlib import Path
from rlhf.errors import ConfigError, TrainingError
from rlhf.runtime.entrypoint import run
from rlhf.runtime.signals import SigtermFlag, Stopped

def main():
    what, rank = sys.argv[1], os.environ["RANK"]
    Path(sys.argv[2], rank).write_text(f"{os.getpid()} {os.environ['WORLD_SIZE']}")
    if what == "user":
        raise ConfigError("learning_rate is -1; use a positive one.")
    if what == "fail" and rank == "1":
        while not Path(sys.argv[2], "ready-0").exists():
            time.sleep(0.05)
        raise TrainingError("loss is nan at step 3")
    if what == "kill":
        os.kill(os.getpid(), 9)
    flag = SigtermFlag()
    Path(sys.argv[2], f"ready-{rank}").touch()
    while what != "done" and not flag:
        time.sleep(0.05)
    if flag:
        time.sleep(0.5)  # a checkpoint takes its time
        raise Stopped("stopped at step 7; wrote checkpoint-7")

run(main)
"""


@pytest.fixture
def recipe(tmp_path: Path, root: Path) -> Path:
    config = (root / "accelerate_config.yaml").read_text()
    (tmp_path / "accelerate_config.yaml").write_text(config)
    (tmp_path / "recipe.py").write_text(RECIPE)
    return tmp_path / "recipe.py"


@pytest.mark.parametrize(("what", "status"), [("done", 0), ("user", 2), ("kill", 137)])
def test_status_is_that_of_the_recipe(recipe, capfd, what, status):
    assert main(["--num_processes=1", str(recipe), what, str(recipe.parent)]) == status
    assert "Traceback" not in capfd.readouterr().err


def test_failed_rank_is_named_and_the_others_end(recipe, capfd):
    assert main(["--num_processes=2", str(recipe), "fail", str(recipe.parent)]) == 1
    errors = capfd.readouterr().err
    assert "rank 1 failed with status 1" in errors
    assert "loss is nan at step 3" in errors
    assert _gone(recipe.parent)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 75), (signal.SIGHUP, 75)])
def test_signal_reaches_two_workers_which_write_their_checkpoint(recipe, number, status):
    folder = str(recipe.parent)
    command = [sys.executable, "-m", "rlhf.cli", "launch", "--num_processes", "2", str(recipe)]
    process = subprocess.Popen([*command, "wait", folder], stderr=subprocess.PIPE, text=True)
    _wait_for(lambda: len(list(recipe.parent.glob("ready-*"))) == 2)
    process.send_signal(number)
    _, errors = process.communicate(timeout=180)
    assert process.returncode == status
    assert errors.count("wrote checkpoint-7") == 1  # not once a rank
    assert "Traceback" not in errors
    assert _gone(recipe.parent)


def test_error_of_both_ranks_is_printed_once(recipe, capfd):
    assert main(["--num_processes=2", str(recipe), "user", str(recipe.parent)]) == 2
    assert capfd.readouterr().err.count("learning_rate is -1") == 1


def test_killed_launcher_leaves_no_worker_behind(recipe):
    command = [sys.executable, "-m", "rlhf.cli", "launch", "--num_processes", "2", str(recipe)]
    process = subprocess.Popen([*command, "wait", str(recipe.parent)])
    _wait_for(lambda: len(list(recipe.parent.glob("ready-*"))) == 2)
    process.kill()
    process.wait()
    _wait_for(lambda: _gone(recipe.parent))


def test_missing_recipe_is_the_users_mistake(tmp_path, capfd):
    assert main(["--num_processes=1", str(tmp_path / "no.py")]) == 2
    assert "no.py is not a file" in capfd.readouterr().err


def test_first_failure_is_the_cause_of_the_others():
    def failure(rank, exitcode, seconds):
        return rank, _failure(rank, exitcode, seconds)

    assert first_failure([failure(0, 1, 5), failure(1, 2, 6)]) == (1, 2)
    assert first_failure([failure(0, 1, 6), failure(1, 1, 5)]) == (1, 1)
    assert first_failure([failure(0, -15, 5), failure(1, -9, 5)]) == (1, -9)
    assert shell_status(-9) == 137


def test_stage_does_not_inherit_the_ranks_of_its_launcher(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "MASTER_PORT", "TORCHELASTIC_RUN_ID"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    names = set(own_environment())
    assert not names & {"RANK", "LOCAL_RANK", "MASTER_PORT", "TORCHELASTIC_RUN_ID"}
    assert "ACCELERATE_USE_CPU" in names


def _failure(rank: int, exitcode: int, seconds: int) -> ProcessFailure:
    failure = ProcessFailure(local_rank=rank, pid=1, exitcode=exitcode, error_file="none")
    failure.timestamp = seconds
    return failure


def _wait_for(condition, seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.05)


def _gone(folder: Path) -> bool:
    """Whether every worker that wrote its process id has ended."""
    pids = [int((folder / rank).read_text().split()[0]) for rank in ("0", "1")]
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_launched_module_gets_its_arguments_and_keeps_its_status(recipe, capfd, monkeypatch):
    """Away from the checkout, accelerate's configuration comes from the package."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(recipe.parent), str(ROOT)]))
    monkeypatch.chdir(recipe.parent)
    (recipe.parent / "accelerate_config.yaml").unlink()
    assert launch_module("recipe", ["user", str(recipe.parent)], num_processes=2) == 2
    assert capfd.readouterr().err.count("learning_rate is -1") == 1
    assert launch_module("no_such.module", []) == 2
    assert "no_such.module" in capfd.readouterr().err


def test_launch_options_are_taken_from_among_the_keys():
    words = ["--config", "a.yaml", "--num-processes", "2", "--seed=1", "--config_file=x"]
    options, keys = _split_options(words, LAUNCH_OPTIONS)
    assert options == ["--num_processes=2", "--config_file=x"]
    assert keys == ["--config", "a.yaml", "--seed=1"]
    with raises("missing-key", "--num_processes"):
        _split_options(["--num_processes"], LAUNCH_OPTIONS)
