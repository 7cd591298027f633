"""Compatibility of two stages: matching folders pass, changed ones are rejected."""

import json
from dataclasses import replace

import pytest

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.manifest import MANIFEST, DataUse, read_manifest, write_manifest
from rlhf.models.compatibility import (
    check_chat,
    check_input_model,
    check_same_format,
    load_checked_tokenizer,
)
from rlhf.models.load import load_policy
from rlhf.models.save import save_policy
from rlhf.runtime.run_folder import RunConfig
from rlhf.training.common.provenance import stage_manifest
from tests.errors import raises
from tests.tiny_models import make_model


@pytest.fixture
def stage(tmp_path):
    """A finished stage's folder."""
    base = make_model(tmp_path / "base", "qwen2")
    chat = load_tokenizer(str(base))
    folder = tmp_path / "sft"
    save_policy(folder, load_policy(base), chat)
    use = DataUse(role="train", path="rows.jsonl", sha256="0" * 64, rows=3, dropped=1)
    run = RunConfig(output_dir=str(folder))
    write_manifest(
        folder,
        stage_manifest(
            folder,
            stage="sft",
            base_model=str(base),
            chat=chat,
            seed=7,
            world_size=2,
            data=[use],
            configs=[run],
            built_on=[base],
        ),
    )
    return folder


def test_complete_folder_passes_and_has_a_manifest(stage):
    chat, manifest = load_checked_tokenizer(stage, "auto")
    assert manifest == read_manifest(stage)
    assert (manifest.stage, manifest.seed, manifest.world_size) == ("sft", 7, 2)
    assert manifest.eos_token_ids == chat.eos_token_ids
    assert manifest.base_model_sha256 != ""
    assert manifest.data[0].dropped == 1
    assert manifest.built_on == {}  # the base model has no manifest


def test_next_manifest_refers_to_this_one(stage, tmp_path):
    chat, _ = load_checked_tokenizer(stage, "auto")
    following = stage_manifest(
        stage,
        stage="ppo",
        base_model=str(stage),
        chat=chat,
        seed=0,
        world_size=1,
        data=[],
        configs=[],
        built_on=[stage, tmp_path / "base"],
    )
    assert list(following.built_on) == [str(stage)]


def test_foreign_model_has_no_manifest(tmp_path):
    assert check_input_model(make_model(tmp_path / "base")) is None
    assert check_input_model("some-hub/model") is None


def test_changed_weights_are_rejected(stage):
    path = stage / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with raises("altered-model", stage, "weights"):
        check_input_model(stage)


def test_changed_template_file_is_rejected(stage):
    (stage / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    with raises("altered-model", stage, "chat template"):
        load_checked_tokenizer(stage, "auto")


def test_other_template_by_key_is_rejected(stage, tmp_path):
    file = tmp_path / "other.jinja"
    text = (stage / "chat_template.jinja").read_text()
    file.write_text(text.replace("assistant", "helper"))
    with raises("template-mismatch", stage):
        load_checked_tokenizer(stage, str(file))


def test_raw_prompts_for_a_chat_model_are_rejected(stage):
    with raises("template-mismatch", stage, "chat_template: auto"):
        load_checked_tokenizer(stage, "none")


def test_other_stop_ids_are_rejected(stage):
    chat, manifest = load_checked_tokenizer(stage, "auto")
    with raises("tokenizer-mismatch", stage):
        check_chat(stage, manifest, replace(chat, eos_token_ids=(chat.end_token_id, 9)))


def test_raw_reward_model_for_a_chat_policy_is_rejected(stage):
    chat = load_tokenizer(str(stage))
    with raises("template-mismatch", "policy", "reward"):
        check_same_format("policy", chat, "reward", replace(chat, template_source="none"))


def test_unfinished_run_is_rejected(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    with raises("not-a-model", tmp_path):
        check_input_model(tmp_path)


def test_unreadable_manifest_is_rejected(stage):
    (stage / MANIFEST).write_text(json.dumps({"stage": "sft"}))
    with raises("altered-model", stage / MANIFEST):
        check_input_model(stage)
