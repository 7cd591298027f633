"""Which files are uploaded, and the error of a failed upload. No request is made."""

from fnmatch import fnmatch
from pathlib import Path

import pytest

from rlhf.training.common import publish
from tests.errors import raises


class Hub:
    """Records what `HfApi` would upload."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.uploaded = error, set()

    def create_repo(self, name, *, exist_ok):
        return f"https://hub/{name}"

    def upload_folder(self, *, folder_path, repo_id, ignore_patterns):
        if self.error:
            raise self.error
        for path in Path(folder_path).rglob("*"):
            name = str(path.relative_to(folder_path))
            if path.is_file() and not any(fnmatch(name, pattern) for pattern in ignore_patterns):
                self.uploaded.add(name)


@pytest.fixture
def folder(tmp_path):
    for name in ("model.safetensors", "gate.json", "checkpoint-3/model.safetensors",
                 "samples/best.jsonl", "best/model.safetensors", "rejected.jsonl"):  # fmt: skip
        path = tmp_path / "run" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return tmp_path / "run"


def test_model_and_reports_are_uploaded_but_not_training_data(folder, monkeypatch, capsys):
    hub = Hub()
    monkeypatch.setattr(publish, "HfApi", lambda: hub)
    publish.push_to_hub(folder, "me/reward")
    assert hub.uploaded == {"model.safetensors", "gate.json"}
    assert "uploaded to https://hub/me/reward" in capsys.readouterr().out


def test_nothing_is_uploaded_without_a_hub_id(folder, monkeypatch):
    monkeypatch.setattr(publish, "HfApi", lambda: pytest.fail("a request was made"))
    publish.push_to_hub(folder, None)


def test_failed_upload_names_the_command_to_retry(folder, monkeypatch):
    monkeypatch.setattr(publish, "HfApi", lambda: Hub(OSError("no network")))
    with raises("upload-failed", "no network", "hf upload me/reward"):
        publish.push_to_hub(folder, "me/reward")
