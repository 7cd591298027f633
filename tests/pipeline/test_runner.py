"""Skipping, resuming and replacing stages, with steps that only write down that they ran."""

import pytest

from rlhf.errors import ConfigError, TrainingError
from rlhf.manifest import Manifest, hash_weights, write_manifest
from rlhf.pipeline.runner import STAGE, Stage, Step, read_stage, run_stage
from rlhf.runtime.signals import Stopped


class Chain:
    """Two steps, `sample` and `rank`; the statuses they end with can be set."""

    def __init__(self, folder):
        self.folder, self.ran, self.said = folder, [], []
        self.status = {"sample": 0, "rank": 0}

    def go(self, inputs, makes=()):
        steps = [Step(name=name, run=lambda name=name: self._step(name)) for name in self.status]
        stage = Stage(name="labels", folder=self.folder, inputs=inputs, steps=steps, makes=makes)
        return run_stage(stage, self.said.append)

    def _step(self, name):
        self.ran.append(name)
        (self.folder / f"{name}.txt").write_text("done")
        return self.status[name]


@pytest.fixture
def chain(tmp_path):
    return Chain(tmp_path / "labels")


def test_a_finished_stage_is_skipped(chain):
    assert chain.go({"seed": 0}) is True
    assert chain.go({"seed": 0}) is False
    assert chain.ran == ["sample", "rank"]


def test_an_interrupted_stage_goes_on_with_the_step_that_stopped(chain):
    chain.status["rank"] = 75
    with pytest.raises(Stopped, match="labels"):
        chain.go({"seed": 0})
    assert read_stage(chain.folder).finished is False
    chain.status["rank"] = 0
    chain.go({"seed": 0})
    assert chain.ran == ["sample", "rank", "rank"]
    assert "labels: goes on where it stopped" in chain.said


def test_changed_inputs_start_anew_and_keep_the_old_folder(chain):
    chain.go({"kl_coef": 0.1})
    chain.go({"kl_coef": 0.2})
    chain.go({"kl_coef": 0.3})
    assert chain.ran == ["sample", "rank"] * 3
    assert read_stage(chain.folder.with_name("labels.old-1")).inputs == {"kl_coef": 0.1}
    assert read_stage(chain.folder.with_name("labels.old-2")).inputs == {"kl_coef": 0.2}
    assert any("kl_coef 0.1 -> 0.2" in line for line in chain.said)


def test_a_folder_from_elsewhere_is_moved_not_overwritten(chain):
    chain.folder.mkdir()
    (chain.folder / "mine.txt").write_text("precious")
    chain.go({})
    assert (chain.folder.with_name("labels.old-1") / "mine.txt").read_text() == "precious"


def test_a_stage_whose_output_was_deleted_runs_again(chain):
    chain.go({}, makes=("rank.txt",))
    (chain.folder / "rank.txt").unlink()
    assert chain.go({}, makes=("rank.txt",)) is True
    assert (chain.folder / "rank.txt").exists()


def test_a_stage_whose_weights_are_gone_runs_again(chain):
    """The manifest alone is no model: what it speaks of has to be there, and the same."""
    chain.go({})
    (chain.folder / "model.safetensors").write_bytes(b"weights")
    hashes = {"weights_sha256": hash_weights(chain.folder)}
    empty = dict.fromkeys(
        ["stage", "base_model", "base_model_sha256", "tokenizer_sha256", "chat_template_sha256"], ""
    )
    ids = {"chat_template_source": "none", "pad_token_id": 0, "eos_token_ids": (1,)}
    write_manifest(chain.folder, Manifest(**hashes, **empty, **ids, seed=0, world_size=1))
    assert chain.go({}) is False
    (chain.folder / "model.safetensors").unlink()
    assert chain.go({}) is True
    assert any("the weights changed" in line for line in chain.said)


def test_a_refused_try_leaves_no_old_folder_behind(chain, tmp_path):
    """Correcting a mistake in a key must not pile up folders in which nothing ever ran."""
    refused = Step(name="train", run=lambda: 2)
    stage = Stage(name="labels", folder=chain.folder, inputs={"lr": -1}, steps=[refused])
    with pytest.raises(ConfigError, match="refused"):
        run_stage(stage, chain.said.append)
    chain.go({"lr": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["labels"]


def test_a_failed_step_is_a_failure_of_the_run(chain):
    chain.status["sample"] = 1
    with pytest.raises(TrainingError, match=r"labels \(sample\) failed with status 1"):
        chain.go({})


def test_leftovers_of_a_broken_try_are_removed_before_the_step(tmp_path):
    folder = tmp_path / "labels"
    folder.mkdir()
    half, seen = folder / "store.sqlite", []
    step = Step(name="rank", run=lambda: seen.append(half.exists()) or 0, leftovers=[half])
    stage = Stage(name="labels", folder=folder, inputs={}, steps=[step])
    (folder / STAGE).write_text('{"finished": false, "done": {}, "inputs": {}}')
    half.write_text("half")
    run_stage(stage, print)
    assert seen == [False]


def test_an_unreadable_record_counts_as_none(chain):
    chain.go({})
    (chain.folder / STAGE).write_text("{")
    assert chain.go({}) is True
    assert chain.folder.with_name("labels.old-1").exists()
