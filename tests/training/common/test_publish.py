"""What goes to a hub, and what is said when it does not get there. No hub is asked."""

from fnmatch import fnmatch
from pathlib import Path

import pytest

from rlhf.errors import TrainingError
from rlhf.training.common import publish


class Hub:
    """Takes what `HfApi` would upload."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.taken = error, set()

    def create_repo(self, name, *, exist_ok):
        return f"https://hub/{name}"

    def upload_folder(self, *, folder_path, repo_id, ignore_patterns):
        if self.error:
            raise self.error
        for path in Path(folder_path).rglob("*"):
            name = str(path.relative_to(folder_path))
            if path.is_file() and not any(fnmatch(name, pattern) for pattern in ignore_patterns):
                self.taken.add(name)


@pytest.fixture
def folder(tmp_path):
    for name in ("model.safetensors", "gate.json", "checkpoint-3/model.safetensors",
                 "samples/best.jsonl", "best/model.safetensors", "rejected.jsonl"):  # fmt: skip
        path = tmp_path / "run" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return tmp_path / "run"


def test_the_model_and_what_is_said_of_it_go_and_training_data_do_not(folder, monkeypatch, capsys):
    hub = Hub()
    monkeypatch.setattr(publish, "HfApi", lambda: hub)
    publish.push_to_hub(folder, "me/reward")
    assert hub.taken == {"model.safetensors", "gate.json"}
    assert "uploaded to https://hub/me/reward" in capsys.readouterr().out


def test_nothing_is_uploaded_that_nobody_asked_for(folder, monkeypatch):
    monkeypatch.setattr(publish, "HfApi", lambda: pytest.fail("a hub was asked"))
    publish.push_to_hub(folder, None)


def test_a_hub_that_fails_says_how_to_upload_later(folder, monkeypatch):
    monkeypatch.setattr(publish, "HfApi", lambda: Hub(OSError("no network")))
    with pytest.raises(TrainingError, match=r"no network.*`hf upload me/reward .*run`"):
        publish.push_to_hub(folder, "me/reward")
