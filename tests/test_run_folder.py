"""A run's folder: refused when taken, resumed, overwritten, its checkpoints in order."""

import pytest

from rlhf.errors import CheckpointError, ConfigError
from rlhf.run_folder import RunConfig, checkpoint_to_resume, checkpoints, open_run_folder


def test_a_taken_folder_is_refused_until_told_what_to_do(tmp_path):
    run = RunConfig(output_dir=str(tmp_path / "run"))
    folder = open_run_folder(run)
    (folder / "kept").touch()
    with pytest.raises(ConfigError, match="already holds a run; go on with"):
        open_run_folder(run)
    open_run_folder(RunConfig(output_dir=run.output_dir, resume_from_checkpoint="latest"))
    assert (folder / "kept").exists()
    open_run_folder(RunConfig(output_dir=run.output_dir, overwrite=True))
    assert not (folder / "kept").exists()


def test_a_folder_of_other_things_is_not_a_run_and_loses_nothing(tmp_path):
    (tmp_path / "notes.txt").touch()
    open_run_folder(RunConfig(output_dir=str(tmp_path), overwrite=True))
    assert (tmp_path / "notes.txt").exists()


def test_overwrite_and_resume_exclude_each_other(tmp_path):
    run = RunConfig(output_dir=str(tmp_path), overwrite=True, resume_from_checkpoint="latest")
    with pytest.raises(ConfigError, match="exclude each other"):
        open_run_folder(run)


def test_checkpoints_are_ordered_by_number_and_unfinished_ones_ignored(tmp_path):
    for name in ("checkpoint-10", "checkpoint-9", ".checkpoint-11.123", "checkpoint-best"):
        (tmp_path / name).mkdir()
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-9", "checkpoint-10"]
    latest = RunConfig(output_dir=str(tmp_path), resume_from_checkpoint="latest")
    assert checkpoint_to_resume(latest) == tmp_path / "checkpoint-10"


def test_latest_of_an_empty_folder_starts_from_the_beginning(tmp_path):
    run = RunConfig(output_dir=str(tmp_path), resume_from_checkpoint="latest")
    assert checkpoint_to_resume(run) is None


def test_a_checkpoint_that_is_not_there_is_named(tmp_path):
    run = RunConfig(output_dir=str(tmp_path), resume_from_checkpoint=str(tmp_path / "gone"))
    with pytest.raises(CheckpointError, match="gone is not a folder"):
        checkpoint_to_resume(run)
