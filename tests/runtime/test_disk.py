"""Full and read-only disks, on small in-memory file systems that are mounted here."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlhf.errors import CheckpointError, ConfigError, TrainingError
from rlhf.manifest import write_atomically
from rlhf.runtime.disk import disk_error, disk_errors, writes_to
from rlhf.runtime.paths import check_output_file
from rlhf.training.common.checkpoint import verify_checkpoint
from tests.errors import raises

ROOT = Path(__file__).resolve().parents[2]


def mounted(folder, options):
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")


@pytest.fixture
def small(tmp_path):
    """A file system of 9 MB: a checkpoint of the pocket model with its optimizer takes 24 MB."""
    folder = tmp_path / "small"
    mounted(folder, "size=9m")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def read_only(folder):
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)


def call(*words, cwd=ROOT):
    return subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, cwd=cwd
    )


def sft(output, *more):
    rows = output.parent / "rows.jsonl"
    rows.write_text('{"prompt": "Where is the cup?", "completion": "In the hall."}\n' * 4)
    keys = ("--model_name_or_path", "data/pocket/model", "--train_data", rows, "--num_samples", "0")
    keys += ("--max_steps", "3", "--save_steps", "1", "--max_length", "64", "--bf16", "false")
    return call("recipes/sft.py", *keys, "--output_dir", output, *more)


def fill(folder, leave):
    """All but `leave` bytes of the file system."""
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_bsize
    (folder / "filling").write_bytes(bytes(free - leave))


def test_run_on_a_full_disk_fails_in_one_line_without_torn_checkpoint(small):
    done = sft(small / "run")
    assert done.returncode == 1
    assert done.stderr.startswith("sft.py: ")
    assert done.stderr.count("\n") == 1
    assert f"{small}/run" in done.stderr
    assert "No space left on device" in done.stderr
    assert "[disk-full]" in done.stderr
    for checkpoint in (small / "run").glob("checkpoint-*"):
        with pytest.raises(CheckpointError):
            verify_checkpoint(checkpoint)


def test_run_on_a_read_only_disk_is_rejected_in_one_line(small):
    read_only(small)
    done = call(
        *("recipes/ppo.py", "--model_name_or_path", "data/pocket/model", "--reward", "no.py:f"),
        *("--train_data", "no.jsonl", "--max_steps", "1", "--output_dir", small / "run"),
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"ppo.py: output_dir {small}/run ")
    assert f"{small} is read-only" in done.stderr
    assert done.stderr.endswith("[bad-value]\n")
    assert done.stderr.count("\n") == 1


def test_report_of_a_read_only_run_goes_to_another_file(small, tmp_path):
    (small / "metrics.jsonl").write_text('{"step": 1, "loss": 2.5}\n')
    (small / "config.yaml").write_text("output_dir: x\npacking: true\n")
    read_only(small)
    done = call("-m", "rlhf.cli", "report", small)
    assert done.returncode == 2
    assert done.stderr.startswith(f"rlhf report: {small}/report.html ")
    assert "Read-only file system" in done.stderr
    assert done.stderr.count("\n") == 1
    done = call("-m", "rlhf.cli", "report", small, "--output", tmp_path / "page.html")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/page.html\n")
    assert "<html" in (tmp_path / "page.html").read_text()


def test_file_that_does_not_fit_is_named_and_leaves_nothing(small):
    fill(small, leave=4096)
    with pytest.raises(OSError, match=r"No space left on device: '.*notes\.txt'") as caught:
        write_atomically(small / "notes.txt", "x" * 10000)
    assert {path.name for path in small.iterdir()} == {"filling"}
    error = disk_error(caught.value)
    assert isinstance(error, TrainingError)
    assert error.code == "disk-full"
    assert str(error).startswith(f"{small}/notes.txt: No space left on device")


SAVES = {
    "torch": "import torch; torch.save(torch.ones(100000), PATH)",
    "safetensors": "import torch; from safetensors.torch import save_file\n"
    "save_file({'a': torch.ones(100000)}, PATH)",
    "tokenizers": "from tokenizers import Tokenizer, models\n"
    "Tokenizer(models.WordLevel({str(i): i for i in range(9000)}, unk_token='0')).save(PATH)",
    "sqlite": "import sqlite3; c = sqlite3.connect(PATH); c.execute('create table t (a)')\n"
    "c.execute('insert into t values (?)', ('x' * 100000,)); c.commit()",
}


@pytest.mark.parametrize("library", SAVES)
def test_full_disk_is_recognized_in_the_error_of_each_library(small, library):
    fill(small, leave=8192)
    writes_to(small)
    with pytest.raises(Exception) as caught:  # noqa: PT011 (each library raises its own)
        exec(SAVES[library], {"PATH": str(small / "file")})
    error = disk_error(caught.value)
    assert isinstance(error, TrainingError), caught.value
    assert error.code == "disk-full"
    assert str(error).startswith(f"{small}")


def test_same_error_on_a_disk_with_space_is_not_a_disk_error(tmp_path):
    writes_to(tmp_path)
    assert disk_error(RuntimeError("[enforce fail at inline_container.cc:672]")) is None
    assert disk_error(FileNotFoundError(errno.ENOENT, "No such file", "x")) is None
    assert disk_error(ValueError("no")) is None


@pytest.mark.parametrize("number", [errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG])
def test_path_that_cannot_be_written_is_the_users_mistake(number):
    error = disk_error(OSError(number, "no", "/data/a.jsonl"))
    assert isinstance(error, ConfigError)
    assert error.code == "bad-value"
    assert str(error).startswith("/data/a.jsonl: ")
    with raises("bad-value", "/data/a.jsonl"), disk_errors():
        raise OSError(number, "no", "/data/a.jsonl")


def test_output_file_is_checked_before_it_is_written(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "below.jsonl"):
        with raises("bad-value", path):
            check_output_file(path)
    for path in (tmp_path / "file", tmp_path / "new.jsonl", tmp_path / "new" / "x.jsonl"):
        check_output_file(path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_file_without_permission_is_the_users_mistake():
    error = disk_error(PermissionError(errno.EACCES, "Permission denied", "/data/a.jsonl"))
    assert isinstance(error, ConfigError)
    assert error.code == "unreadable-file"
    assert str(error).startswith("/data/a.jsonl: Permission denied")
