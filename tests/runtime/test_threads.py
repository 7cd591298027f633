"""Number and waiting policy of threads: exported values count, a launcher's default does not."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SCRIPT = """
import sys
from rlhf.runtime.distributed import start_processes
from rlhf.runtime.entrypoint import run
from rlhf.runtime.launcher import own_environment
from rlhf.runtime.threads import threads_are_exported

def main():
    import torch
    start_processes(int(sys.argv[1]) if sys.argv[1:] else None)
    sys.stdout.write(f"{threads_are_exported()} {torch.get_num_threads()}\\n")

if __name__ == "__main__":
    run(main)
"""
SET_BY_LAUNCHERS = ("TORCHELASTIC", "ACCELERATE_", "RANK", "WORLD_SIZE", "MASTER_", "OMP_", "GOMP_")
LAUNCHERS = {
    "python": [sys.executable],
    "accelerate": [str(BIN / "accelerate"), "launch", "--config_file", "one.yaml"],
    "torchrun": [str(BIN / "torchrun"), "--nproc_per_node", "2", "--master_port", "29575"],
    "rlhf launch": [sys.executable, "-m", "rlhf.cli", "launch", "--num_processes", "2"],
}
CORES = len(os.sched_getaffinity(0))

on_cpu = pytest.mark.skipif(torch.accelerator.is_available(), reason="threads are set on a CPU")


def call(place, words, **exported):
    config = (ROOT / "accelerate_config.yaml").read_text()
    (place / "accelerate_config.yaml").write_text(config)
    (place / "one.yaml").write_text(config.replace("MULTI_GPU", "'NO'"))
    (place / "script.py").write_text(SCRIPT)
    env = {key: word for key, word in os.environ.items() if not key.startswith(SET_BY_LAUNCHERS)}
    done = subprocess.run(words, capture_output=True, text=True, cwd=place, env=env | exported)
    assert done.returncode == 0, done.stderr
    return done


def threads(place, name, *words, **exported):
    done = call(place, [*LAUNCHERS[name], "script.py", *words], **exported)
    return set(re.findall(r"(True|False) (\d+)", done.stdout))


@on_cpu
@pytest.mark.parametrize("name", LAUNCHERS)
def test_exported_number_counts(tmp_path, name):
    """1, the default of launchers, and 2, which is not the share of one of two processes."""
    assert threads(tmp_path, name, OMP_NUM_THREADS="2") == {("True", "2")}
    assert threads(tmp_path, name, OMP_NUM_THREADS="1") == {("True", "1")}


@on_cpu
@pytest.mark.parametrize(("name", "processes"), [("python", 1), ("accelerate", 1), ("torchrun", 2)])
def test_default_of_a_launcher_does_not_count(tmp_path, name, processes):
    """accelerate's launcher for one process and torchrun for several set 1."""
    assert threads(tmp_path, name) == {("False", str(max(1, CORES // processes)))}


@on_cpu
def test_key_overrides_the_exported_number(tmp_path):
    assert threads(tmp_path, "python", "2", OMP_NUM_THREADS="1") == {("True", "2")}


@on_cpu
def test_option_of_accelerate_counts_as_exported(tmp_path):
    words = [*LAUNCHERS["accelerate"], "--num_cpu_threads_per_process", "1", "script.py"]
    assert call(tmp_path, words).stdout == "True 1\n"


def openmp_settings(done):
    return dict(re.findall(r"(\w+) ?= ?'([^']*)'", done.stderr))


@pytest.mark.parametrize(
    "recipe", ["sft", "reward_model", "dpo", "kto", "ppo", "pretrain", "evaluate", "align"]
)
def test_threads_of_a_recipe_wait_without_spinning(tmp_path, recipe):
    """OpenMP prints its settings when torch loads it, GNU's and LLVM's in different formats."""
    imports = f"import runpy; runpy.run_path('{ROOT / 'recipes' / f'{recipe}.py'}'); import torch"
    words = [sys.executable, "-c", imports]
    settings = openmp_settings(call(tmp_path, words, OMP_DISPLAY_ENV="verbose"))
    if "GOMP_SPINCOUNT" not in settings:
        assert settings.get("KMP_BLOCKTIME") == "0"  # LLVM's
    else:
        assert (settings["OMP_WAIT_POLICY"], settings["GOMP_SPINCOUNT"]) == ("PASSIVE", "0")


def test_waiting_policy_of_the_user_is_kept(tmp_path):
    words = [sys.executable, "-c", "import rlhf, os; print(os.environ.get('OMP_WAIT_POLICY'))"]
    assert call(tmp_path, words).stdout == "PASSIVE\n"
    assert call(tmp_path, words, OMP_WAIT_POLICY="ACTIVE").stdout == "ACTIVE\n"
    assert call(tmp_path, words, GOMP_SPINCOUNT="100").stdout == "None\n"
    assert call(tmp_path, words, KMP_BLOCKTIME="200").stdout == "None\n"
