"""Arguments that all trainers share, and the folder that `save` writes to."""

from types import SimpleNamespace

import pytest

import rlhf
from rlhf.training.common.arguments import run_config
from rlhf.training.common.save_folder import folder_to_save
from tests.errors import raises

ROWS = [{"prompt": "Hi", "completion": "Hello."}]
PAIRS = [{"prompt": "Hi", "chosen": "Hello.", "rejected": "No."}]


def reward(prompts, completions):
    return [0.0] * len(completions)


def sft(model="model", **arguments):
    return rlhf.SFTTrainer(model, ROWS, **arguments)


def reward_model(model="model", **arguments):
    return rlhf.RewardTrainer(model, PAIRS, **arguments)


def ppo(model="model", config=None, **arguments):
    config = rlhf.PPOConfig(max_steps=1) if config is None else config
    return rlhf.PPOTrainer(model, ["Hi"], reward, config=config, **arguments)


EVERY = pytest.mark.parametrize("make", [sft, reward_model, ppo])


@EVERY
def test_config_of_another_class_is_rejected(make):
    with raises("bad-value", "config", "dict", "Config("):
        make(config={"max_steps": 3})
    other = rlhf.SFTConfig() if make is not sft else rlhf.RewardModelConfig()
    with raises("bad-value", "config", type(other).__name__):
        make(config=other)


@EVERY
def test_data_config_of_another_class_is_rejected(make):
    other = rlhf.DataOptions() if make is ppo else rlhf.PromptOptions()
    with raises("bad-value", "data_config", type(other).__name__, "Options("):
        make(data_config=other)
    with raises("bad-value", "data_config", "dict"):
        make(data_config={"max_length": 3})


def test_reward_config_of_another_class_is_rejected():
    with raises("bad-value", "reward_config", "dict", "RewardConfig("):
        ppo(reward_config={"on_reward_error": "skip"})


@EVERY
def test_model_that_is_no_path_is_rejected(make):
    with raises("bad-value", "model", "NoneType", "Config("):
        make(None)
    loaded = SimpleNamespace(save_pretrained=lambda folder: None)
    with raises("bad-value", "model", "SimpleNamespace", "save_pretrained"):
        make(loaded)


def test_sft_rejects_the_backbone_of_ppo():
    with raises("bad-value", "model", "BackboneConfig", "ModelConfig("):
        sft(rlhf.BackboneConfig(model_name_or_path="model"))


@EVERY
def test_missing_checkpoint_is_found_when_the_trainer_is_made(make, tmp_path):
    with raises("no-checkpoint", tmp_path / "checkpoint-9"):
        make(output_dir=tmp_path, resume_from_checkpoint=tmp_path / "checkpoint-9")
    with raises("missing-key", "latest", "output_dir"):
        make(resume_from_checkpoint=True)
    with raises("bad-value", "resume_from_checkpoint", "int"):
        make(output_dir=tmp_path, resume_from_checkpoint=9)


@pytest.mark.parametrize(("given", "key"), [(True, "latest"), (False, None), ("latest", "latest")])
def test_resume_from_true_is_latest(given, key, tmp_path):
    run = run_config(object(), tmp_path, seed=0, resume=given, overwrite=False)
    assert run.resume_from_checkpoint == key


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    run = run_config(object(), "~/run", seed=0, resume=None, overwrite=False)
    assert run.output_dir == str(tmp_path / "run")
    assert folder_to_save("~/saved", tmp_path, base="base") == tmp_path / "saved"


def test_every_path_to_the_run_folder_is_the_run_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text("{}")
    for folder in (None, "run", "./run", tmp_path / "other" / ".." / "run"):
        assert folder_to_save(folder, run, base="base") is run


@pytest.mark.parametrize("file", ["README.md", "config.json", "model.safetensors"])
def test_save_keeps_models_that_rlhf_did_not_write(tmp_path, file):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / file).write_text("{}")
    with raises("file-exists", folder, file):
        folder_to_save(folder, tmp_path / "run", base="base")
    (folder / "manifest.json").write_text("{}")
    assert folder_to_save(folder, tmp_path / "run", base="base") == folder
    with raises("file-exists", folder):
        folder_to_save(folder, tmp_path / "run", base=str(folder))


def test_save_to_a_file_is_rejected(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with raises("file-exists", path):
            folder_to_save(path, tmp_path / "run", base="base")
