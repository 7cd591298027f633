"""A run's folder: refused when taken, resumed, overwritten, its checkpoints in order."""

from dataclasses import dataclass

import pytest

from rlhf.errors import CheckpointError, ConfigError
from rlhf.runtime.run_folder import (
    RunConfig,
    checkpoint_to_resume,
    checkpoints,
    claim_run_folder,
    open_run_folder,
)
from rlhf.runtime.run_lock import LOCK


def test_a_taken_folder_is_refused_until_told_what_to_do(tmp_path):
    run = RunConfig(output_dir=str(tmp_path / "run"))
    folder = open_run_folder(run)
    (folder / "metrics.jsonl").touch()
    with pytest.raises(ConfigError, match="already holds a run; go on with"):
        open_run_folder(run)
    open_run_folder(RunConfig(output_dir=run.output_dir, resume_from_checkpoint="latest"))
    assert (folder / "metrics.jsonl").exists()
    open_run_folder(RunConfig(output_dir=run.output_dir, overwrite=True))
    assert not (folder / "metrics.jsonl").exists()


def test_overwriting_deletes_what_runs_make_and_nothing_else(tmp_path):
    run = RunConfig(output_dir=str(tmp_path), overwrite=True)
    open_run_folder(run)
    (tmp_path / "checkpoint-2").mkdir()
    for made in ("model.safetensors", "tokenizer.json", "checkpoint-2/state.pt"):
        (tmp_path / made).touch()
    (tmp_path / "my_labels.jsonl").touch()
    open_run_folder(run)
    left = {path.name for path in tmp_path.iterdir()} - {LOCK}
    assert left == {"config.yaml", "my_labels.jsonl"}


def test_claiming_a_folder_deletes_nothing(tmp_path):
    """A run that is refused for its data, after this, has cost nothing."""
    run = RunConfig(output_dir=str(tmp_path), overwrite=True)
    open_run_folder(run)
    (tmp_path / "model.safetensors").touch()
    claim_run_folder(run)
    assert (tmp_path / "model.safetensors").exists()


@dataclass(frozen=True, kw_only=True)
class Reads:
    models: list[str]


@pytest.mark.parametrize("word", ["{}", "{}/model", "sft={}/model", "0.5*{}", "{}/gold.py:score"])
def test_what_the_run_reads_is_never_overwritten(tmp_path, word):
    run = RunConfig(output_dir=str(tmp_path), overwrite=True)
    open_run_folder(run)
    (tmp_path / "model").mkdir()
    (tmp_path / "gold.py").touch()
    with pytest.raises(ConfigError, match=r"models .* lies in output_dir"):
        open_run_folder(run, Reads(models=[word.format(tmp_path)]))
    assert (tmp_path / "config.yaml").exists()


def test_a_config_that_no_run_wrote_is_kept(tmp_path):
    (tmp_path / "config.yaml").write_text("site: mine\n")
    with pytest.raises(ConfigError, match=r"config\.yaml is no run's"):
        open_run_folder(RunConfig(output_dir=str(tmp_path), overwrite=True))
    assert (tmp_path / "config.yaml").read_text() == "site: mine\n"


@pytest.mark.parametrize("name", ["file", "file/run"])
def test_a_folder_at_or_below_a_file_is_refused(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file is a file; name another"):
        claim_run_folder(RunConfig(output_dir=str(tmp_path / name)))


def test_a_folder_that_cannot_be_made_is_refused():
    with pytest.raises(ConfigError, match="/proc/run cannot be made"):
        open_run_folder(RunConfig(output_dir="/proc/run"))


def test_a_folder_of_other_things_is_not_a_run_and_loses_nothing(tmp_path):
    (tmp_path / "notes.txt").touch()
    open_run_folder(RunConfig(output_dir=str(tmp_path), overwrite=True))
    assert (tmp_path / "notes.txt").exists()


def test_an_unknown_tracker_is_refused_with_the_other_keys():
    with pytest.raises(ConfigError, match="'nobody' is no tracker"):
        RunConfig(output_dir="x", report_to=["nobody"])


@pytest.mark.parametrize("seed", [-1, 1 << 32])
def test_a_seed_that_no_generator_takes_is_refused(seed):
    with pytest.raises(ConfigError, match="seeds go from 0"):
        RunConfig(output_dir="x", seed=seed)


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
