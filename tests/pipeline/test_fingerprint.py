"""Changes of a stage's inputs."""

import pytest

from rlhf.pipeline.fingerprint import fingerprint, hash_source, settings_of
from tests.errors import raises


def test_hash_of_a_file_depends_on_its_content_only(tmp_path):
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text("row")
    assert hash_source(str(tmp_path / "a.jsonl")) == hash_source(str(tmp_path / "b.jsonl"))
    (tmp_path / "b.jsonl").write_text("other row")
    assert hash_source(str(tmp_path / "a.jsonl")) != hash_source(str(tmp_path / "b.jsonl"))


def test_hash_of_a_stage_folder_is_that_of_its_manifest(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    before = hash_source(str(tmp_path))
    (tmp_path / "metrics.jsonl").write_text("{}")
    assert hash_source(str(tmp_path)) == before
    (tmp_path / "manifest.json").write_text('{"seed": 1}')
    assert hash_source(str(tmp_path)) != before


def test_hash_of_a_model_covers_weights_and_tokenizer(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    before = hash_source(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{}")
    assert hash_source(str(tmp_path)) != before


def test_hash_of_a_function_covers_the_modules_next_to_it(tmp_path):
    (tmp_path / "gold.py").write_text("from words import WORDS")
    (tmp_path / "words.py").write_text("WORDS = []")
    source = f"{tmp_path}/gold.py:score"
    before = hash_source(source)
    assert hash_source(f"0.5*{source}") != before
    (tmp_path / "words.py").write_text("WORDS = ['a']")
    assert hash_source(source) != before


def test_hub_id_represents_itself():
    assert hash_source("owner/name:test") == "owner/name:test"


def test_fingerprint_has_hashes_of_sources(tmp_path):
    (tmp_path / "rows.jsonl").write_text("row")
    path = str(tmp_path / "rows.jsonl")
    inputs = fingerprint({"train_data": path, "seed": 3}, {"train_data": path, "reward": None})
    assert inputs == {"train_data": hash_source(path), "seed": 3, "reward": None}


def test_settings_are_the_file_with_overrides(tmp_path):
    file = tmp_path / "ppo.yaml"
    file.write_text("kl_coef: 0.1\nseed: 1\n")
    assert settings_of(str(file), {"seed": 2}) == {"kl_coef": 0.1, "seed": 2}
    assert settings_of(None, {"seed": 2}) == {"seed": 2}


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [\n"])
def test_yaml_that_is_not_a_mapping_raises(tmp_path, text):
    file = tmp_path / "ppo.yaml"
    file.write_text(text)
    with raises("bad-config-file", "ppo.yaml"):
        settings_of(str(file), {})
