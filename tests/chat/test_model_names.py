"""Names of models on the command line, on the page and in the label store."""

from rlhf.chat.model_names import (
    given_names,
    named_models,
    names_in_store,
    short_names,
    stored_names,
)
from tests.errors import raises


def test_models_in_folders_of_one_name_are_told_apart(tmp_path, monkeypatch):
    for place in ("one/model", "two/model", "other"):
        (tmp_path / place).mkdir(parents=True)
    paths = [str(tmp_path / place) for place in ("one/model", "two/model")]
    assert short_names(paths) == ["one/model", "two/model"]
    assert short_names([paths[0], str(tmp_path / "other")]) == ["model", "other"]
    assert short_names([paths[0], paths[0], "owner/name"]) == ["model", "model#2", "owner/name"]
    monkeypatch.chdir(tmp_path / "one")
    assert stored_names([*paths, "../two/model", "owner/name"]) == [
        "model",
        "two/model",
        "../two/model",
        "owner/name",
    ]


def test_names_that_the_user_gave_are_stored(tmp_path, monkeypatch):
    (tmp_path / "runs" / "sft").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    arguments = ["a=runs/sft", "b=runs/sft", "owner/name"]
    assert given_names(arguments) == {"a", "b"}
    assert names_in_store(named_models(arguments), given_names(arguments)) == {
        "a": "a",
        "b": "b",
        "owner/name": "owner/name",
    }
    assert names_in_store({"sft": "runs/sft"}, ()) == {"sft": "runs/sft"}
    once_more = {"runs/sft": "runs/a", "sft": "runs/sft", "sft#2": "runs/sft"}
    assert names_in_store(once_more, ["runs/sft"]) == {
        "runs/sft": "runs/sft",
        "sft": "sft",
        "sft#2": "sft#2",
    }


def test_models_are_named_on_the_command_line(tmp_path, monkeypatch):
    (tmp_path / "a=b").mkdir()
    monkeypatch.chdir(tmp_path)
    assert named_models(["base=owner/name", "a=b"]) == {"base": "owner/name", "a=b": "a=b"}
    assert named_models(["one=x", "two=x"]) == {"one": "x", "two": "x"}
    with raises("bad-value", "my model=x"):
        named_models(["my model=x"])
    with raises("repeated-key", "one"):
        named_models(["one=x", "one=y"])
