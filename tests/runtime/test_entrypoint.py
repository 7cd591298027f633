"""Process groups and exit statuses under each launcher, in subprocesses."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rlhf.runtime.distributed import SHARDING
from rlhf.runtime.printing import rlhf_command

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import atexit
import os
import sys
from rlhf.errors import ConfigError, TrainingError
from rlhf.runtime.distributed import start_processes
from rlhf.runtime.entrypoint import run
from rlhf.runtime.signals import Stopped

class Abort:
    def __del__(self, abort=os.abort):
        abort()

def main():
    what = sys.argv[1]
    if what == "world":
        world = start_processes(sharding=sys.argv[2] if sys.argv[2:] else "none")
        from accelerate import Accelerator
        print(f"world {world} rank {Accelerator().process_index}", flush=True)
    elif what == "ends":
        start_processes()
        from accelerate import Accelerator
        Accelerator()
        from torch import distributed
        report = lambda when: sys.stdout.write(f"{when} {distributed.is_initialized()}\\n")
        atexit.register(report, "at exit")
        if distributed.is_initialized():
            globals()["abort"] = Abort()  # freed when the interpreter shuts down
        report("started")  # in one write: two ranks share the pipe
    elif what == "bug":
        raise KeyError("a bug of ours")
    elif what != "nothing":
        raise {"user": ConfigError, "failed": TrainingError, "stopped": Stopped}[what]("in a line")

if __name__ == "__main__":
    run(main)
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return str(path)


def call(*words):
    unset = {"WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "ACCELERATE_USE_CPU"}
    env = {key: value for key, value in os.environ.items() if key not in unset}
    return subprocess.run(words, capture_output=True, text=True, timeout=120, env=env, cwd=ROOT)


@pytest.mark.parametrize(
    ("what", "status", "traceback"),
    [
        ("nothing", 0, False),
        ("user", 2, False),
        ("failed", 1, False),
        ("stopped", 75, False),
        ("bug", 1, True),
    ],
)
def test_exit_status_of_mistake_failure_and_stop(script, what, status, traceback):
    done = call(sys.executable, script, what)
    assert done.returncode == status
    assert ("Traceback" in done.stderr) is traceback
    if what not in ("nothing", "bug"):
        assert done.stderr.startswith("script.py: in a line")
        assert done.stderr.count("\n") == 1


def test_messages_of_a_command_begin_with_its_name():
    """`rlhf sft` and `accelerate launch recipes/sft.py` run the same recipe."""
    for command, start in (("-m rlhf.cli sft", "rlhf sft: "), ("recipes/sft.py", "sft.py: ")):
        done = call(sys.executable, *command.split(), "--frob", "1")
        assert done.returncode == 2
        assert done.stderr.startswith(start), done.stderr
        assert "[unknown-key]" in done.stderr


def ranks_of_two(stdout):
    """Two processes write to one pipe: their lines may run into each other."""
    return set(re.findall(r"world 2 rank (\d)", stdout))


def accelerate(*options, config="accelerate_config.yaml"):
    binary = Path(sys.executable).parent / "accelerate"
    return [str(binary), "launch", "--config_file", config, *options]


def test_default_launch_is_one_process(script):
    done = call(*accelerate(), script, "world")
    assert "world 1 rank 0" in done.stdout, done.stderr


@pytest.mark.skipif(torch.accelerator.is_available(), reason="on a GPU it keeps its group")
def test_process_launched_alone_has_no_group(script):
    """In a group of one, accelerate wraps models in DDP, which copies each gradient for no use."""
    assert "started False" in call(*accelerate(), script, "ends").stdout
    two = call(*accelerate("--num_processes", "2", "--main_process_port", "0"), script, "ends")
    assert two.stdout.count("started True") == 2


@pytest.mark.parametrize("config", ["accelerate_config.yaml", "recipes/accelerate/ddp.yaml"])
def test_two_processes_form_a_group(script, config):
    options = ("--num_processes", "2", "--main_process_port", "0")
    done = call(*accelerate(*options, config=config), script, "world")
    assert ranks_of_two(done.stdout) == {"0", "1"}, done.stderr


def test_torchrun_starts_a_group(script):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    done = call(*torchrun, "--master_port", "29571", script, "world")
    assert ranks_of_two(done.stdout) == {"0", "1"}, done.stderr


def test_finished_run_of_two_skips_the_interpreter_shutdown(script):
    """gloo's threads may abort a process that shuts down; here an object always does."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    done = call(*torchrun, "--master_port", "29572", script, "ends")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("started True") == done.stdout.count("at exit False") == 2


def test_one_process_instead_of_two_exits_with_a_message(script):
    """accelerate 1.15 starts one process for this, without a warning."""
    done = call(*accelerate("--cpu", "--num_processes", "2"), script, "world")
    assert "--num_processes N" in done.stderr
    assert "[bad-launch]" in done.stderr
    assert "world" not in done.stdout


def test_printed_command_is_quoted_and_on_the_path(monkeypatch):
    """Otherwise it is the program next to this Python."""
    bare = Path(sys.executable).with_name("rlhf")
    monkeypatch.setenv("PATH", "/nowhere")
    assert rlhf_command("chat", Path("my runs/ppo")) == f"{bare} chat 'my runs/ppo'"
    monkeypatch.setenv("PATH", str(bare.parent))
    assert rlhf_command("chat", Path("runs/ppo")) == "rlhf chat runs/ppo"


@pytest.mark.parametrize(
    ("name", "sharding", "reason"),
    [
        ("DeepSpeed", "fsdp_or_deepspeed", "accelerate silently ignores"),
        ("DeepSpeed", "fsdp", "this recipe does not apply"),
        ("FSDP", "none", "this recipe does not apply"),
    ],
)
def test_sharding_that_nothing_applies_is_rejected(script, monkeypatch, name, sharding, reason):
    """accelerate 1.15 starts plain processes for both without a GPU, and without a warning.

    Recipes shard with FSDP themselves.
    """
    monkeypatch.setenv(SHARDING[name], "true")
    done = call(sys.executable, script, "world", sharding)
    assert done.returncode == 2
    assert f"asks for {name}, which {reason}" in done.stderr
    assert "[bad-launch]" in done.stderr
    assert "world" not in done.stdout


def test_mixed_precision_of_the_launcher_is_rejected(script):
    """The trainers set their own: `mixed_precision: bf16` would leave a run in float32."""
    done = call(*accelerate("--mixed_precision", "bf16"), script, "world")
    assert "the launch configuration has mixed_precision=bf16" in done.stderr
    assert "world" not in done.stdout


@pytest.mark.parametrize(("sharding", "runs"), [("none", False), ("fsdp", True)])
def test_fsdp2_on_two_cpu_processes_needs_own_sharding(script, sharding, runs):
    """With `recipes/accelerate/fsdp2.yaml`: trainings shard their models, other recipes do not."""
    config = ["--config_file", "recipes/accelerate/fsdp2.yaml", "--num_processes", "2"]
    binary = str(Path(sys.executable).parent / "accelerate")
    done = call(binary, "launch", *config, "--main_process_port", "0", script, "world", sharding)
    assert (ranks_of_two(done.stdout) == {"0", "1"}) is runs, done.stderr
    assert ("[bad-launch]" in done.stderr) is not runs


def test_datasets_is_imported_late_and_stays_quiet():
    """It imports pandas: 80 MB in a process that reads local files without either."""
    words = """
import sys
from rlhf.runtime.printing import quiet_logs
quiet_logs()
print({"datasets", "pandas"} & sys.modules.keys())
import datasets
print(datasets.logging.get_verbosity(), datasets.are_progress_bars_disabled())
"""
    done = call(sys.executable, "-c", words)
    assert done.stdout.split("\n")[:2] == ["set()", f"{logging.ERROR} True"], done.stderr
