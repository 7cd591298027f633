"""Workers whose launcher was killed with -9, under the launchers that people use."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
# No torch in it: what is tested is the launchers.
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
def place(tmp_path: Path, root: Path) -> Path:
    config = (root / "accelerate_config.yaml").read_text()
    (tmp_path / "accelerate_config.yaml").write_text(config)
    (tmp_path / "one.yaml").write_text(config.replace("MULTI_GPU", "'NO'"))
    (tmp_path / "recipe.py").write_text(RECIPE)
    (tmp_path / "out").mkdir()
    return tmp_path


def start(place, *words, what="listens"):
    words = [*map(str, words), "recipe.py", str(place / "out"), what]
    return subprocess.Popen(words, cwd=place, stderr=subprocess.DEVNULL, env=bare())


def bare():
    """The environment without what a launcher of these tests may have set."""
    dropped = ("TORCHELASTIC", "ACCELERATE_", "RANK", "WORLD_SIZE", "MASTER_")
    return {key: value for key, value in os.environ.items() if not key.startswith(dropped)}


def workers(place, count):
    wait_for(lambda: len(list((place / "out").glob("*.ready"))) == count)
    return [int(path.stem) for path in (place / "out").glob("*.ready")]


def wait_for(condition, seconds=120.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


def runs(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.parametrize("name", LAUNCHERS)
def test_workers_of_a_launcher_that_was_killed_write_a_checkpoint_and_end(place, name):
    count, words = LAUNCHERS[name]
    process = start(place, *words)
    pids = workers(place, count)
    process.kill()
    process.wait()
    wait_for(lambda: not any(map(runs, pids)), seconds=15)
    written = {int(path.stem) for path in (place / "out").glob("*.checkpoint")}
    assert written == set(pids)


def test_a_worker_that_does_not_listen_is_ended_by_force(place):
    _, words = LAUNCHERS["accelerate, one process"]
    process = start(place, *words, what="deaf")
    [pid] = workers(place, 1)
    process.kill()  # its status is not asked for: a zombie is gone, too
    wait_for(lambda: not runs(pid), seconds=15)
    process.wait()
    assert not list((place / "out").glob("*.checkpoint"))


def test_a_launcher_that_died_before_the_worker_looked_is_noticed(place):
    _, words = LAUNCHERS["accelerate, one process"]
    process = start(place, *words, what="late")
    wait_for((place / "out" / "imported").exists)
    process.kill()
    process.wait()
    (place / "out" / "go").touch()
    time.sleep(3)
    assert not list((place / "out").glob("*.ready"))


@pytest.mark.parametrize("how", ["{} &", "nohup {} >/dev/null &", "setsid {} &"])
def test_a_recipe_whose_shell_has_ended_goes_on(place, how):
    """Only a launcher counts."""
    command = f"{sys.executable} recipe.py out listens"
    subprocess.run(["sh", "-c", how.format(command)], cwd=place, env=bare(), check=True)
    [pid] = workers(place, 1)
    time.sleep(3)
    assert runs(pid)
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not runs(pid), seconds=15)


def test_a_recipe_below_a_wrapper_ends_with_the_launcher_above_it(place):
    (place / "wrapper.sh").write_text(f'#!/bin/sh\n{sys.executable} "$@"\necho\n')
    (place / "wrapper.sh").chmod(0o755)
    words = [BIN / "torchrun", "--nproc_per_node", "1", "--master_port", "29574", "--no-python"]
    process = start(place, *words, "./wrapper.sh")
    [pid] = workers(place, 1)
    process.kill()
    process.wait()
    wait_for(lambda: not runs(pid), seconds=15)


def test_a_command_of_a_chain_ends_with_the_chain(tmp_path):
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
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=bare())
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    pid = int((tmp_path / "pid").read_text())
    process.kill()
    process.wait()
    wait_for(lambda: not runs(pid), seconds=15)
