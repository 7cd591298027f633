"""Checkpoints are complete or absent, and resuming picks a verified one."""

import random

import numpy as np
import pytest
import torch

from rlhf.runtime.run_folder import RunConfig, checkpoints
from rlhf.training.common.checkpoint import (
    checkpoint_of_run,
    random_state,
    restore_random_state,
    save_checkpoint,
    verify_checkpoint,
)
from tests.errors import raises


def save(folder, step, limit=9):
    return save_checkpoint(
        folder, step, lambda path: (path / "a").write_text(f"{step}"), save_total_limit=limit
    )


def latest(folder):
    return checkpoint_of_run(RunConfig(output_dir=str(folder), resume_from_checkpoint="latest"))


def test_checkpoint_is_complete_or_absent(tmp_path):
    def fails(path):
        (path / "a").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(tmp_path, 1, fails, save_total_limit=2)
    assert checkpoints(tmp_path) == []
    save(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-2"]


def test_torn_checkpoint_is_reported_and_the_previous_is_used(tmp_path):
    save(tmp_path, 1)
    (save(tmp_path, 2) / "a").write_text("2 and more")
    (save(tmp_path, 3) / "a").unlink()
    checkpoint, messages = latest(tmp_path)
    assert checkpoint == tmp_path / "checkpoint-1"
    assert "checkpoint-3 is torn: a is missing" in messages[0]
    assert "checkpoint-2 is torn: a differs" in messages[1]


def test_oldest_checkpoint_is_deleted_beyond_the_limit(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, step, limit=2)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-2", "checkpoint-3"]


def test_torn_later_checkpoint_does_not_count_towards_the_limit(tmp_path):
    (save(tmp_path, 5) / "a").unlink()
    save(tmp_path, 4, limit=1)
    assert latest(tmp_path)[0] == tmp_path / "checkpoint-4"


def test_latest_without_checkpoint_starts_at_the_beginning(tmp_path):
    assert latest(tmp_path) == (None, ["no checkpoint yet; starts at the beginning"])


def test_named_torn_checkpoint_is_rejected(tmp_path):
    (save(tmp_path, 1) / "a").unlink()
    with raises("torn-checkpoint", "checkpoint-1"):
        verify_checkpoint(tmp_path / "checkpoint-1")


def test_resuming_before_a_later_checkpoint_is_rejected(tmp_path):
    """From 2 with 3 in the folder: after a kill, `latest` would resume from discarded steps."""
    two, three = save(tmp_path, 2), save(tmp_path, 3)

    def named(checkpoint, output_dir):
        run = RunConfig(output_dir=str(output_dir), resume_from_checkpoint=str(checkpoint))
        return checkpoint_of_run(run)[0]

    with raises("run-exists", "checkpoint-3", "checkpoint-2"):
        named(two, tmp_path)
    assert named(three, tmp_path) == three
    assert named(two, tmp_path / "elsewhere") == two
    (three / "a").unlink()  # torn: `latest` skips it
    assert named(two, tmp_path) == two
    assert latest(tmp_path)[0] == two


def test_random_state_is_restored_from_a_file(tmp_path):
    np.random.standard_normal()  # noqa: NPY002 (leaves a spare Gaussian behind)
    torch.save(random_state(), tmp_path / "state")

    def draw():
        return random.random(), np.random.standard_normal(3).tolist(), torch.rand(2).tolist()  # noqa: NPY002

    expected = draw()
    restore_random_state(torch.load(tmp_path / "state", weights_only=True))
    assert draw() == expected
