"""Models of the hub at a revision; a cache folder takes the place of the hub."""

import shutil

import pytest
from huggingface_hub import constants

from rlhf.models.config import ModelConfig
from rlhf.models.revision import at_revision
from rlhf.training.sft.config import SFTConfig
from rlhf.training.sft.trainer import SFTTrainer
from tests.errors import raises
from tests.tiny_models import make_model
from tests.training.tiny_runs import DEMONSTRATIONS

COMMITS = {"main": "a" * 40, "v1": "b" * 40}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A cache with two revisions of org/tiny, of other weights; no connection."""
    cache = tmp_path / "hub"
    for seed, (name, commit) in enumerate(COMMITS.items()):
        repository = cache / "models--org--tiny"
        (repository / "refs").mkdir(parents=True, exist_ok=True)
        (repository / "refs" / name).write_text(commit)
        (repository / "snapshots").mkdir(exist_ok=True)
        folder = make_model(tmp_path / name, seed=seed)
        shutil.copytree(folder, repository / "snapshots" / commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return cache


@pytest.mark.parametrize("revision", ["v1", COMMITS["v1"]])
def test_revision_is_the_folder_of_its_commit(hub, revision):
    config = ModelConfig(model_name_or_path="org/tiny", model_revision=revision)
    resolved = at_revision(config)
    assert resolved.model_name_or_path.endswith(COMMITS["v1"])
    assert resolved.model_revision is None
    assert at_revision(resolved) == resolved


def test_training_starts_from_the_revision_and_records_its_commit(hub, tmp_path):
    rows = [{"prompt": row.prompt, "completion": row.completion} for row in DEMONSTRATIONS]
    one = SFTTrainer(
        ModelConfig(model_name_or_path="org/tiny", model_revision="v1", bf16=False),
        rows,
        config=SFTConfig(max_steps=1, num_samples=0),
        output_dir=tmp_path / "run",
    )
    one.train()
    assert COMMITS["v1"] in (tmp_path / "run" / "config.yaml").read_text()
    assert COMMITS["v1"] in one.setup.manifest(tmp_path / "run", stage="sft").base_model


def test_unknown_revision_is_an_error(hub):
    config = ModelConfig(model_name_or_path="org/tiny", model_revision="v2")
    with raises("bad-hub-id", "model_revision=v2", "org/tiny"):
        at_revision(config)


def test_folder_has_no_revisions(tmp_path):
    config = ModelConfig(model_name_or_path=str(tmp_path), model_revision="v1")
    with raises("key-conflict", "model_revision=v1", tmp_path):
        at_revision(config)


def test_model_without_a_revision_is_unchanged():
    config = ModelConfig(model_name_or_path="org/tiny")
    assert at_revision(config) is config
