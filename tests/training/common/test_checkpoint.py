import random

import numpy as np
import pytest
import torch

from rlhf.errors import CheckpointError
from rlhf.runtime.run_folder import RunConfig, checkpoints
from rlhf.training.common.checkpoint import (
    checkpoint_of_run,
    random_state,
    restore_random_state,
    save_checkpoint,
    verify_checkpoint,
)


def save(folder, step, limit=9):
    return save_checkpoint(
        folder, step, lambda path: (path / "a").write_text(f"{step}"), save_total_limit=limit
    )


def latest(folder):
    return checkpoint_of_run(RunConfig(output_dir=str(folder), resume_from_checkpoint="latest"))


def test_a_checkpoint_appears_whole_or_not_at_all(tmp_path):
    def fails(path):
        (path / "a").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(tmp_path, 1, fails, save_total_limit=2)
    assert checkpoints(tmp_path) == []
    save(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-2"]  # the rest is gone


def test_a_torn_checkpoint_is_named_and_the_one_before_is_used(tmp_path):
    save(tmp_path, 1)
    (save(tmp_path, 2) / "a").write_text("2 and more")
    (save(tmp_path, 3) / "a").unlink()
    found, remarks = latest(tmp_path)
    assert found == tmp_path / "checkpoint-1"
    assert "checkpoint-3 is torn: a is missing" in remarks[0]
    assert "checkpoint-2 is torn: a differs" in remarks[1]


def test_old_ones_go_only_after_the_new_one_is_whole(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, step, limit=2)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-2", "checkpoint-3"]


def test_a_torn_later_one_does_not_count_as_kept(tmp_path):
    (save(tmp_path, 5) / "a").unlink()
    save(tmp_path, 4, limit=1)
    assert latest(tmp_path)[0] == tmp_path / "checkpoint-4"


def test_latest_without_any_starts_at_the_beginning_and_says_so(tmp_path):
    assert latest(tmp_path) == (None, ["no checkpoint yet; starts at the beginning"])


def test_a_named_torn_one_is_refused(tmp_path):
    (save(tmp_path, 1) / "a").unlink()
    with pytest.raises(CheckpointError, match="torn"):
        verify_checkpoint(tmp_path / "checkpoint-1")


def test_going_back_behind_a_whole_checkpoint_is_refused(tmp_path):
    """From 2 with 3 in the folder: killed at once, `latest` would go on from what was given up."""
    two, three = save(tmp_path, 2), save(tmp_path, 3)

    def named(checkpoint, output_dir):
        run = RunConfig(output_dir=str(output_dir), resume_from_checkpoint=str(checkpoint))
        return checkpoint_of_run(run)[0]

    with pytest.raises(CheckpointError, match=r"checkpoint-3 is later than .*checkpoint-2 .* move"):
        named(two, tmp_path)
    assert named(three, tmp_path) == three
    assert named(two, tmp_path / "elsewhere") == two
    (three / "a").unlink()  # torn, `latest` passes it over
    assert named(two, tmp_path) == two
    assert latest(tmp_path)[0] == two


def test_random_states_come_back_through_a_file(tmp_path):
    np.random.standard_normal()  # noqa: NPY002 (leaves a spare Gaussian behind)
    torch.save(random_state(), tmp_path / "state")

    def draw():
        return random.random(), np.random.standard_normal(3).tolist(), torch.rand(2).tolist()  # noqa: NPY002

    expected = draw()
    restore_random_state(torch.load(tmp_path / "state", weights_only=True))
    assert draw() == expected
