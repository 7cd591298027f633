"""SFT whose launcher is killed with -9: the worker keeps the lock until it ends; then resume."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlhf.runtime.run_folder import checkpoints
from rlhf.training.common.checkpoint import verify_checkpoint

BIN = Path(sys.executable).parent
LAUNCHERS = {
    "accelerate": [BIN / "accelerate", "launch", "--config_file", "one.yaml"],
    "torchrun": [BIN / "torchrun", "--nproc_per_node", "2", "--master_port", "29576"],
    "rlhf launch": [sys.executable, "-m", "rlhf.cli", "launch", "--num_processes", "2"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LAUNCHERS)
def test_run_of_a_killed_launcher_resumes_from_its_checkpoint(tmp_path, root, name):
    config = (root / "accelerate_config.yaml").read_text()
    (tmp_path / "one.yaml").write_text(config.replace("MULTI_GPU", "'NO'"))
    row = {"prompt": "Where is the cup?", "completion": "In the hall."}
    (tmp_path / "rows.jsonl").write_text((json.dumps(row) + "\n") * 8)
    keys = ["--model_name_or_path", str(root / "data/pocket/model"), "--train_data", "rows.jsonl"]
    keys += ["--max_length", "64", "--num_samples", "0", "--save_steps", "9999"]
    keys += ["--logging_steps", "1", "--max_steps", "9999", "--per_device_train_batch_size", "2"]
    keys += ["--cpu_threads", "1", "--output_dir", "run"]
    recipe, run = str(root / "recipes" / "sft.py"), tmp_path / "run"
    words = [*map(str, LAUNCHERS[name]), recipe, *keys]
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.DEVNULL)
    wait_for(lambda: steps(run) > 1)
    holder = json.loads((run / ".lock").read_text())["pid"]
    process.kill()
    process.wait()
    wait_for(lambda: not Path(f"/proc/{holder}").exists(), seconds=30)
    [checkpoint] = checkpoints(run)  # written on SIGTERM; no other was due
    verify_checkpoint(checkpoint)
    reached = steps(run)
    again = [sys.executable, "-m", "rlhf.cli", "launch"]
    again += ["--num_processes", "1" if name == "accelerate" else "2"]
    words = [*again, recipe, *keys, "--resume_from_checkpoint", "latest"]
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    wait_for(lambda: steps(run) > reached)
    process.terminate()
    output, _ = process.communicate()
    assert process.returncode == 75
    assert f"run/{checkpoint.name}" in output


def steps(run):
    """The last step in metrics.jsonl; 0 if there is none yet."""
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return max((json.loads(line)["step"] for line in lines if line.endswith("}")), default=0)


def wait_for(condition, seconds=120.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.05)
