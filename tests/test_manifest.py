"""Manifests are written whole and read back equal; a changed folder is named."""

import pytest

from rlhf.manifest import (
    DataUse,
    Manifest,
    check_folder,
    hash_chat_template,
    hash_text,
    hash_tokenizer,
    hash_weights,
    read_manifest,
    write_manifest,
)
from tests.errors import raises


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    return tmp_path


def manifest_of(folder):
    return Manifest(
        stage="sft",
        base_model="base",
        base_model_sha256="b",
        weights_sha256=hash_weights(folder),
        tokenizer_sha256=hash_tokenizer(folder),
        chat_template_sha256=hash_chat_template(folder),
        chat_template_source="tokenizer",
        pad_token_id=0,
        eos_token_ids=(1, 2),
        seed=3,
        world_size=2,
        data=(DataUse(role="train", path="a.jsonl", sha256="c", rows=10, dropped=1),),
        built_on={"runs/sft": "d"},
    )


def test_manifest_is_read_back_equal(folder):
    write_manifest(folder, manifest_of(folder))
    assert read_manifest(folder) == manifest_of(folder)
    assert not list(folder.glob(".manifest*")), "the temporary file is gone"


def test_folder_of_another_program_has_no_manifest(tmp_path):
    assert read_manifest(tmp_path) is None


def test_other_file_named_manifest_is_rejected(tmp_path):
    (tmp_path / "manifest.json").write_text('{"name": "a web app"}')
    with raises("altered-model", "manifest.json"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("model.safetensors", "weights"),
        ("tokenizer.json", "tokenizer"),
        ("chat_template.jinja", "chat template"),
    ],
)
def test_change_after_the_manifest_is_named(folder, file, name):
    manifest = manifest_of(folder)
    check_folder(folder, manifest)
    (folder / file).write_text("changed")
    with raises("altered-model", name):
        check_folder(folder, manifest)


def test_critic_next_to_the_policy_does_not_change_the_hash(folder):
    """PPO saves it in a checkpoint after the policy's manifest was made."""
    manifest = manifest_of(folder)
    (folder / "critic.safetensors").write_bytes(b"values")
    check_folder(folder, manifest)


def test_hash_is_sha256_of_the_bytes():
    """SHA-256 of "abc", FIPS 180-2 appendix B.1."""
    assert hash_text("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
