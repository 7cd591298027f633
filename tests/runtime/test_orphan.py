"""Workers whose launcher was killed with -9, under each launcher."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
# No torch: this tests the launchers.
RECIPE = """
import sys, time
from pathlib import Path
import rlhf.runtime.orphan
from rlhf.runtime.entrypoint import run
from rlhf.runtime.signals import SigtermFlag, Stopped

def main():
    folder, what = Path(sys.argv[1]), sys.argv[2]
    if what == "late":
        (folder / "imported").touch()
        while not (folder / "go").exists():
            time.sleep(0.05)
    rlhf.runtime.orphan.GRACE_SECONDS = 2.0 if what == "deaf" else 30.0
    rlhf.runtime.orphan.end_with_launcher()
    flag = SigtermFlag()
    import os
    pid = os.getpid()
    (folder / f"{pid}.new").touch()
    (folder / f"{pid}.new").rename(folder / f"{pid}.ready")
    while what == "deaf" or not flag:
        time.sleep(0.05)
    time.sleep(0.5)  # a checkpoint takes its time
    (folder / f"{pid}.checkpoint").touch()
    raise Stopped("stopped at step 7; wrote checkpoint-7")

run(main)
"""
LAUNCHERS = {
    "accelerate, one process": (1, [BIN / "accelerate", "launch", "--config_file", "one.yaml"]),
    "accelerate, torchrun": (
        2,
        [
            *(BIN / "accelerate", "launch", "--config_file", "accelerate_config.yaml"),
            *("--num_processes", "2", "--main_process_port", "0"),
        ],
    ),
    "torchrun": (2, [BIN / "torchrun", "--nproc_per_node", "2", "--master_port", "29573"]),
    "rlhf launch": (2, [sys.executable, "-m", "rlhf.cli", "launch", "--num_processes", "2"]),
}


@pytest.fixture
def work_folder(tmp_path: Path, root: Path) -> Path:
    config = (root / "accelerate_config.yaml").read_text()
    (tmp_path / "accelerate_config.yaml").write_text(config)
    (tmp_path / "one.yaml").write_text(config.replace("MULTI_GPU", "'NO'"))
    (tmp_path / "recipe.py").write_text(RECIPE)
    (tmp_path / "out").mkdir()
    return tmp_path


def start(work_folder, *words, what="listens"):
    words = [*map(str, words), "recipe.py", str(work_folder / "out"), what]
    return subprocess.Popen(words, cwd=work_folder, stderr=subprocess.DEVNULL, env=clean_env())


def clean_env():
    """The environment without the variables of a launcher of these tests."""
    unset = ("TORCHELASTIC", "ACCELERATE_", "RANK", "WORLD_SIZE", "MASTER_")
    return {key: value for key, value in os.environ.items() if not key.startswith(unset)}


def workers(work_folder, count):
    wait_for(lambda: len(list((work_folder / "out").glob("*.ready"))) == count)
    return [int(path.stem) for path in (work_folder / "out").glob("*.ready")]


def wait_for(condition, seconds=120.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.05)


def runs(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.parametrize("name", LAUNCHERS)
def test_workers_of_a_killed_launcher_write_a_checkpoint_and_end(work_folder, name):
    count, words = LAUNCHERS[name]
    process = start(work_folder, *words)
    pids = workers(work_folder, count)
    process.kill()
    process.wait()
    wait_for(lambda: not any(map(runs, pids)), seconds=15)
    written = {int(path.stem) for path in (work_folder / "out").glob("*.checkpoint")}
    assert written == set(pids)


def test_worker_that_ignores_sigterm_is_killed(work_folder):
    _, words = LAUNCHERS["accelerate, one process"]
    process = start(work_folder, *words, what="deaf")
    [pid] = workers(work_folder, 1)
    process.kill()  # not waited for yet: a zombie counts as gone
    wait_for(lambda: not runs(pid), seconds=15)
    process.wait()
    assert not list((work_folder / "out").glob("*.checkpoint"))


def test_launcher_that_died_during_imports_is_noticed(work_folder):
    _, words = LAUNCHERS["accelerate, one process"]
    process = start(work_folder, *words, what="late")
    wait_for((work_folder / "out" / "imported").exists)
    process.kill()
    process.wait()
    (work_folder / "out" / "go").touch()
    time.sleep(3)
    assert not list((work_folder / "out").glob("*.ready"))


@pytest.mark.parametrize("how", ["{} &", "nohup {} >/dev/null &", "setsid {} &"])
def test_recipe_continues_after_its_shell_ended(work_folder, how):
    """Only a launcher counts."""
    command = f"{sys.executable} recipe.py out listens"
    subprocess.run(["sh", "-c", how.format(command)], cwd=work_folder, env=clean_env(), check=True)
    [pid] = workers(work_folder, 1)
    time.sleep(3)
    assert runs(pid)
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not runs(pid), seconds=15)


def test_recipe_in_a_wrapper_ends_with_the_launcher(work_folder):
    (work_folder / "wrapper.sh").write_text(f'#!/bin/sh\n{sys.executable} "$@"\necho\n')
    (work_folder / "wrapper.sh").chmod(0o755)
    words = [BIN / "torchrun", "--nproc_per_node", "1", "--master_port", "29574", "--no-python"]
    process = start(work_folder, *words, "./wrapper.sh")
    [pid] = workers(work_folder, 1)
    process.kill()
    process.wait()
    wait_for(lambda: not runs(pid), seconds=15)


def test_command_of_a_pipeline_ends_with_the_pipeline(tmp_path):
    """`rlhf launch` and the labelling commands that align.py starts follow their parent."""
    (tmp_path / "listen.py").write_text(
        "import os, time\n"
        "from pathlib import Path\n"
        "from rlhf.runtime.orphan import end_with_parent\n"
        "end_with_parent()\n"
        "Path('pid').write_text(str(os.getpid()))\n"
        "time.sleep(600)\n"
    )
    code = "from rlhf.pipeline.commands import run_module; run_module('listen', [])"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=clean_env())
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    pid = int((tmp_path / "pid").read_text())
    process.kill()
    process.wait()
    wait_for(lambda: not runs(pid), seconds=15)
