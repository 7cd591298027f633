"""Arguments that all trainers share, and the folder that `save` writes to."""

import json
from dataclasses import fields
from types import SimpleNamespace

import pytest

import rlhf
from rlhf.manifest import Manifest
from rlhf.training.common.arguments import run_config
from rlhf.training.common.save_folder import folder_to_save
from tests.errors import raises

FIELDS = [field.name for field in fields(Manifest)]
ROWS = [{"prompt": "Hi", "completion": "Hello."}]
PAIRS = [{"prompt": "Hi", "chosen": "Hello.", "rejected": "No."}]


RUN = {"inputs": ["base"], "stage": "sft"}


def write_stage(folder, stage):
    """A manifest of this stage, with no other content."""
    folder.mkdir(exist_ok=True)
    text = dict.fromkeys(FIELDS, "") | {"stage": stage, "data": [], "eos_token_ids": []}
    (folder / "manifest.json").write_text(json.dumps(text))


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
    assert folder_to_save("~/saved", tmp_path, **RUN) == tmp_path / "saved"


def test_every_path_to_the_run_folder_is_the_run_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text("{}")
    for folder in (None, "run", "./run", tmp_path / "other" / ".." / "run"):
        assert folder_to_save(folder, run, **RUN) is run


@pytest.mark.parametrize("file", ["README.md", "config.json", "model.safetensors"])
def test_save_keeps_models_that_rlhf_did_not_write(tmp_path, file):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / file).write_text("{}")
    with raises("file-exists", folder, file):
        folder_to_save(folder, tmp_path / "run", **RUN)
    write_stage(folder, "sft")
    assert folder_to_save(folder, tmp_path / "run", **RUN) == folder
    with raises("file-exists", folder):
        folder_to_save(folder, tmp_path / "run", inputs=["other", str(folder)], stage="sft")


def test_save_to_a_file_is_rejected(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with raises("file-exists", path):
            folder_to_save(path, tmp_path / "run", **RUN)


def test_save_keeps_models_of_other_stages(tmp_path):
    write_stage(tmp_path / "rm", "reward_model")
    with raises("file-exists", tmp_path / "rm", "reward_model"):
        folder_to_save(tmp_path / "rm", tmp_path / "run", **RUN)
    (tmp_path / "rm" / "manifest.json").write_text("{}")
    with raises("file-exists", tmp_path / "rm", "unknown"):
        folder_to_save(tmp_path / "rm", tmp_path / "run", **RUN)


def test_save_keeps_the_base_of_an_adapter_that_the_run_was_built_on(tmp_path):
    write_stage(tmp_path / "base", "sft")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    config = {"peft_type": "LORA", "base_model_name_or_path": str(tmp_path / "base")}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    with raises("file-exists", tmp_path / "base"):
        folder_to_save(tmp_path / "base", tmp_path / "run", inputs=[str(adapter)], stage="sft")


@EVERY
def test_output_dir_that_is_no_path_is_rejected(make):
    for value in ("", " ", 3):
        with raises("bad-value", "output_dir"):
            make(output_dir=value)


@pytest.mark.parametrize("value", ["", 3, False])
def test_save_to_no_path_is_rejected(tmp_path, value):
    with raises("bad-value", "save"):
        folder_to_save(value, tmp_path, **RUN)


def test_home_of_an_unknown_user_is_rejected(tmp_path):
    with raises("bad-value", "~nosuchuser/run"):
        run_config(object(), "~nosuchuser/run", seed=0, resume=None, overwrite=False)
    with raises("bad-value", "~nosuchuser"):
        folder_to_save("~nosuchuser", tmp_path, **RUN)


@pytest.mark.parametrize("kind", [rlhf.BackboneConfig, rlhf.ModelConfig])
def test_home_is_expanded_in_the_path_of_a_model(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert kind(model_name_or_path="~/model").model_name_or_path == str(tmp_path / "model")


def test_ppo_rejects_sources_in_its_data_config():
    from rlhf.data.config import PromptDataConfig

    with raises("bad-value", "data_config", "PromptOptions"):
        ppo(data_config=PromptDataConfig(train_data=["a.jsonl"]))
