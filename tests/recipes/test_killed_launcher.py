"""SFT whose launcher is killed with -9: the folder is held while the worker ends, then resumed."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlhf.run_folder import checkpoints
from rlhf.training.checkpoint import verify_checkpoint

BIN = Path(sys.executable).parent
LAUNCHERS = {
    "accelerate": [BIN / "accelerate", "launch", "--config_file", "one.yaml"],
    "torchrun": [BIN / "torchrun", "--nproc_per_node", "2", "--master_port", "29576"],
    "rlhf launch": [sys.executable, "-m", "rlhf.cli", "launch", "--num_processes", "2"],
}


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_run_whose_launcher_was_killed_is_resumed_from_whole_checkpoints(tmp_path, root, name):
    config = (root / "accelerate_config.yaml").read_text()
    (tmp_path / "one.yaml").write_text(config.replace("MULTI_GPU", "'NO'"))
    row = {"prompt": "Where is the cup?", "completion": "In the hall."}
    (tmp_path / "rows.jsonl").write_text((json.dumps(row) + "\n") * 8)
    keys = ["--model_name_or_path", str(root / "data/pocket/model"), "--train_data", "rows.jsonl"]
    keys += ["--max_length", "64", "--num_samples", "0", "--save_steps", "3", "--output_dir", "run"]
    keys += ["--per_device_train_batch_size", "2", "--cpu_threads", "1"]
    recipe = str(root / "recipes" / "sft.py")
    words = [*map(str, LAUNCHERS[name]), recipe, *keys, "--max_steps", "2000"]
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.DEVNULL)
    run = tmp_path / "run"
    wait_for(lambda: checkpoints(run))
    holder = json.loads((run / ".lock").read_text())["pid"]
    process.kill()
    process.wait()
    wait_for(lambda: not Path(f"/proc/{holder}").exists(), seconds=30)
    whole = checkpoints(run)
    for checkpoint in whole:
        verify_checkpoint(checkpoint)
    last = int(whole[-1].name.removeprefix("checkpoint-"))
    assert last % 3 or name != "accelerate"  # of SIGTERM, between two that were due
    more = ["--max_steps", "2000", "--resume_from_checkpoint", "latest", "--dry_run", "true"]
    done = subprocess.run(
        [sys.executable, recipe, *keys, *more], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def wait_for(condition, seconds=120.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)
