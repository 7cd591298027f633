"""A run's folder: rejected when taken, resumed, overwritten, its checkpoints in order."""

from dataclasses import dataclass

import pytest

from rlhf.runtime.run_folder import (
    EVALUATION_JOURNALS,
    SUITE_JOURNALS,
    RunConfig,
    begin_run,
    check_upload,
    checkpoint_to_resume,
    checkpoints,
    claim_run_folder,
    open_run_folder,
)
from rlhf.runtime.run_lock import LOCK
from tests.errors import raises


def test_taken_folder_needs_resume_or_overwrite(tmp_path):
    run = RunConfig(output_dir=str(tmp_path / "run"))
    folder = open_run_folder(run)
    (folder / "metrics.jsonl").touch()
    with raises("run-exists", "output_dir", "overwrite=true"):
        open_run_folder(run)
    open_run_folder(RunConfig(output_dir=run.output_dir, resume_from_checkpoint="latest"))
    assert (folder / "metrics.jsonl").exists()
    open_run_folder(RunConfig(output_dir=run.output_dir, overwrite=True))
    assert not (folder / "metrics.jsonl").exists()


def test_only_a_run_of_the_same_kind_continues_an_interrupted_one_unasked(tmp_path):
    """Others would replace its files; finished results are never replaced unasked."""
    run = RunConfig(output_dir=str(tmp_path))
    open_run_folder(run)
    with raises("run-exists", "output_dir"):
        claim_run_folder(run, continues=EVALUATION_JOURNALS)
    (tmp_path / "answers.jsonl.0.partial").touch()
    claim_run_folder(run, continues=EVALUATION_JOURNALS)
    for other in (None, SUITE_JOURNALS):
        with raises("run-exists", "output_dir"):
            claim_run_folder(run, continues=other)
    (tmp_path / "evaluation.json").touch()
    with raises("run-exists", "output_dir"):
        claim_run_folder(run, continues=EVALUATION_JOURNALS)
    open_run_folder(RunConfig(output_dir=run.output_dir, overwrite=True))
    assert not (tmp_path / "answers.jsonl.0.partial").exists()


def test_overwrite_deletes_only_the_files_of_runs(tmp_path):
    run = RunConfig(output_dir=str(tmp_path), overwrite=True)
    open_run_folder(run)
    (tmp_path / "checkpoint-2").mkdir()
    for name in ("model.safetensors", "tokenizer.json", "checkpoint-2/state.pt"):
        (tmp_path / name).touch()
    (tmp_path / "my_labels.jsonl").touch()
    open_run_folder(run)
    remaining = {path.name for path in tmp_path.iterdir()} - {LOCK}
    assert remaining == {"config.yaml", "my_labels.jsonl"}


def test_claiming_a_folder_deletes_nothing(tmp_path):
    """A run that is rejected for its data after this loses nothing."""
    run = RunConfig(output_dir=str(tmp_path), overwrite=True)
    open_run_folder(run)
    (tmp_path / "model.safetensors").touch()
    claim_run_folder(run)
    assert (tmp_path / "model.safetensors").exists()


@dataclass(frozen=True, kw_only=True)
class Reads:
    models: list[str]


@pytest.mark.parametrize("word", ["{}", "{}/model", "sft={}/model", "0.5*{}", "{}/gold.py:score"])
def test_inputs_of_the_run_are_never_overwritten(tmp_path, word):
    run = RunConfig(output_dir=str(tmp_path), overwrite=True)
    open_run_folder(run)
    (tmp_path / "model").mkdir()
    (tmp_path / "gold.py").touch()
    with raises("key-conflict", "models", "output_dir"):
        open_run_folder(run, Reads(models=[word.format(tmp_path)]))
    assert (tmp_path / "config.yaml").exists()


@pytest.mark.parametrize("name", ["config.json", "adapter_config.json"])
def test_model_that_no_run_wrote_is_kept(tmp_path, name):
    (tmp_path / name).touch()
    with raises("file-exists", str(tmp_path), name):
        claim_run_folder(RunConfig(output_dir=str(tmp_path), overwrite=True))


def test_saved_model_without_a_run_is_kept(tmp_path):
    for name in ("config.json", "manifest.json"):
        (tmp_path / name).touch()
    with raises("file-exists", tmp_path, "config.json", "saved model"):
        claim_run_folder(RunConfig(output_dir=str(tmp_path), overwrite=True))


def test_config_file_of_another_program_is_kept(tmp_path):
    (tmp_path / "config.yaml").write_text("site: mine\n")
    with raises("run-exists", "config.yaml"):
        open_run_folder(RunConfig(output_dir=str(tmp_path), overwrite=True))
    assert (tmp_path / "config.yaml").read_text() == "site: mine\n"


@pytest.mark.parametrize("name", ["file", "file/run"])
def test_folder_at_or_below_a_file_is_rejected(tmp_path, name):
    (tmp_path / "file").touch()
    with raises("bad-value", "output_dir", tmp_path / "file"):
        claim_run_folder(RunConfig(output_dir=str(tmp_path / name)))


def test_folder_that_cannot_be_created_is_rejected():
    with raises("bad-value", "/proc/run"):
        open_run_folder(RunConfig(output_dir="/proc/run"))


def test_folder_without_a_run_loses_nothing(tmp_path):
    (tmp_path / "notes.txt").touch()
    open_run_folder(RunConfig(output_dir=str(tmp_path), overwrite=True))
    assert (tmp_path / "notes.txt").exists()


def test_unknown_tracker_is_rejected():
    with raises("bad-value", "'nobody'", "wandb"):
        RunConfig(output_dir="x", report_to=["nobody"])


def test_tracker_that_is_not_installed_is_rejected(monkeypatch):
    monkeypatch.setattr("accelerate.tracking._available_trackers", [])
    with raises("missing-package", "wandb"):
        RunConfig(output_dir="x", report_to=["wandb"])


def test_upload_needs_a_hub_id_and_a_token(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with raises("bad-value", "me/a/b"):
        check_upload("me/a/b")
    with raises("missing-key", "me/model", "HF_TOKEN"):
        begin_run(RunConfig(output_dir=str(tmp_path / "run"), push_to_hub="me/model"))
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "token")
    check_upload("me/model")
    check_upload(None)


@pytest.mark.parametrize("seed", [-1, 1 << 32])
def test_seed_out_of_range_is_rejected(seed):
    with raises("bad-value", f"seed={seed}"):
        RunConfig(output_dir="x", seed=seed)


def test_overwrite_and_resume_exclude_each_other(tmp_path):
    run = RunConfig(output_dir=str(tmp_path), overwrite=True, resume_from_checkpoint="latest")
    with raises("key-conflict", "overwrite", "resume_from_checkpoint"):
        open_run_folder(run)


def test_checkpoints_are_ordered_by_number_and_unfinished_ones_ignored(tmp_path):
    for name in ("checkpoint-10", "checkpoint-9", ".checkpoint-11.123", "checkpoint-best"):
        (tmp_path / name).mkdir()
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-9", "checkpoint-10"]
    latest = RunConfig(output_dir=str(tmp_path), resume_from_checkpoint="latest")
    assert checkpoint_to_resume(latest) == tmp_path / "checkpoint-10"


def test_latest_of_an_empty_folder_starts_from_scratch(tmp_path):
    run = RunConfig(output_dir=str(tmp_path), resume_from_checkpoint="latest")
    assert checkpoint_to_resume(run) is None


def test_missing_checkpoint_is_named(tmp_path):
    run = RunConfig(output_dir=str(tmp_path), resume_from_checkpoint=str(tmp_path / "gone"))
    with raises("no-checkpoint", tmp_path / "gone"):
        checkpoint_to_resume(run)
