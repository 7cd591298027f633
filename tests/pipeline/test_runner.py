"""Skip, resume and replace stages, with steps that only record their runs."""

import pytest

from rlhf.manifest import Manifest, hash_weights, write_manifest
from rlhf.pipeline.runner import STAGE, Stage, Step, read_stage, run_stage
from rlhf.runtime.signals import Stopped
from tests.errors import raises


class LabelStage:
    """Two steps, `sample` and `rank`, with exit statuses that can be set."""

    def __init__(self, folder):
        self.folder, self.steps_run, self.log = folder, [], []
        self.status = {"sample": 0, "rank": 0}

    def run(self, inputs, makes=()):
        steps = [Step(name=name, run=lambda name=name: self._step(name)) for name in self.status]
        stage = Stage(name="labels", folder=self.folder, inputs=inputs, steps=steps, makes=makes)
        return run_stage(stage, self.log.append)

    def _step(self, name):
        self.steps_run.append(name)
        (self.folder / f"{name}.txt").write_text("done")
        return self.status[name]


@pytest.fixture
def stage(tmp_path):
    return LabelStage(tmp_path / "labels")


def test_finished_stage_is_skipped(stage):
    assert stage.run({"seed": 0}) is True
    assert stage.run({"seed": 0}) is False
    assert stage.steps_run == ["sample", "rank"]


def test_interrupted_stage_resumes_with_its_unfinished_step(stage):
    stage.status["rank"] = 75
    with pytest.raises(Stopped, match="labels"):
        stage.run({"seed": 0})
    assert read_stage(stage.folder).finished is False
    stage.status["rank"] = 0
    stage.run({"seed": 0})
    assert stage.steps_run == ["sample", "rank", "rank"]
    assert "labels: resumes" in stage.log


def test_changed_inputs_restart_and_keep_the_old_folder(stage):
    stage.run({"kl_coef": 0.1})
    stage.run({"kl_coef": 0.2})
    stage.run({"kl_coef": 0.3})
    assert stage.steps_run == ["sample", "rank"] * 3
    assert read_stage(stage.folder.with_name("labels.old-1")).inputs == {"kl_coef": 0.1}
    assert read_stage(stage.folder.with_name("labels.old-2")).inputs == {"kl_coef": 0.2}
    assert any("kl_coef 0.1 -> 0.2" in line for line in stage.log)


def test_folder_of_another_origin_is_renamed(stage):
    stage.folder.mkdir()
    (stage.folder / "other.txt").write_text("precious")
    stage.run({})
    assert (stage.folder.with_name("labels.old-1") / "other.txt").read_text() == "precious"


def test_stage_with_deleted_output_runs_again(stage):
    stage.run({}, makes=("rank.txt",))
    (stage.folder / "rank.txt").unlink()
    assert stage.run({}, makes=("rank.txt",)) is True
    assert (stage.folder / "rank.txt").exists()


def test_stage_with_deleted_weights_runs_again(stage):
    """The files of the manifest have to exist and be unchanged."""
    stage.run({})
    (stage.folder / "model.safetensors").write_bytes(b"weights")
    hashes = {"weights_sha256": hash_weights(stage.folder)}
    empty = dict.fromkeys(
        ["stage", "base_model", "base_model_sha256", "tokenizer_sha256", "chat_template_sha256"], ""
    )
    ids = {"chat_template_source": "none", "pad_token_id": 0, "eos_token_ids": (1,)}
    write_manifest(stage.folder, Manifest(**hashes, **empty, **ids, seed=0, world_size=1))
    assert stage.run({}) is False
    (stage.folder / "model.safetensors").unlink()
    assert stage.run({}) is True
    assert any("the weights changed" in line for line in stage.log)


def test_rejected_configuration_leaves_no_old_folder(stage, tmp_path):
    """A corrected key must not leave folders in which nothing ran."""
    rejects = Step(name="train", run=lambda: 2)
    first = Stage(name="labels", folder=stage.folder, inputs={"lr": -1}, steps=[rejects])
    with raises("bad-value", "labels"):
        run_stage(first, stage.log.append)
    stage.run({"lr": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["labels"]


def test_failed_step_raises(stage):
    stage.status["sample"] = 1
    with raises("process-lost", "labels", "sample", 1):
        stage.run({})


def test_leftovers_are_removed_before_the_step(tmp_path):
    folder = tmp_path / "labels"
    folder.mkdir()
    half, seen = folder / "store.sqlite", []
    step = Step(name="rank", run=lambda: seen.append(half.exists()) or 0, leftovers=[half])
    stage = Stage(name="labels", folder=folder, inputs={}, steps=[step])
    (folder / STAGE).write_text('{"finished": false, "done": {}, "inputs": {}}')
    half.write_text("half")
    run_stage(stage, print)
    assert seen == [False]


def test_unreadable_record_restarts_the_stage(stage):
    stage.run({})
    (stage.folder / STAGE).write_text("{")
    assert stage.run({}) is True
    assert stage.folder.with_name("labels.old-1").exists()
