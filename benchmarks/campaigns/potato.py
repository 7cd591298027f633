"""Potato as the driver uses it: the requests of its annotation page.

Started as its documentation says: a task folder with a YAML file, and `potato start`.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import yaml

from benchmarks.campaigns.process import ServerProcess
from benchmarks.campaigns.tool import RESPONSES, Label, checked, new_folder
from benchmarks.options import version_of

SCHEME, PASSWORD = "ranking", "a-long-pass-phrase-1"


class Potato:
    """A task folder.

    environment: folder of the Python environment that has `potato-annotation`.
    """

    def __init__(self, folder: Path, port: int, environment: Path) -> None:
        self.name = version_of(str(environment / "bin" / "python"), "potato-annotation")
        self._folder = new_folder(folder, "potato")
        self._config = self._folder / "config.yaml"
        self._command = [str(environment / "bin" / "potato"), "start", str(self._config)]
        self._command += ["-p", str(port)]
        self._address = f"http://127.0.0.1:{port}"

    @contextmanager
    def project(
        self, items: Sequence[str], annotators: Sequence[str], overlap: int
    ) -> Iterator[ServerProcess]:
        rows = [{"id": item, "text": item} for item in items]
        (self._folder / "items.json").write_text(json.dumps(rows))
        share = -(-len(items) * overlap // len(annotators))
        self._config.write_text(yaml.safe_dump(_settings(overlap, share)))
        with ServerProcess(self._command, self._address, folder=self._folder) as server:
            yield server

    def annotator(self, name: str) -> "PotatoAnnotator":
        return PotatoAnnotator(name, self._address)

    def stored_labels(self) -> list[Label]:
        labels = []
        for file in sorted((self._folder / "annotations").glob("*/user_state.json")):
            state = json.loads(file.read_text())
            for item, pairs in state["instance_id_to_label_to_value"].items():
                for label, value in pairs:
                    if label["schema"] == SCHEME:
                        labels.append(Label(file.parent.name, item, tuple(value.split(","))))
        return labels


class PotatoAnnotator:
    """The requests of the annotation page."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self._http = httpx.Client(base_url=address, timeout=120.0)
        self._labelled: str | None = None  # the item that was submitted last

    def log_in(self) -> None:
        account = {"email": self.name, "pass": PASSWORD}
        checked(self._http.post("/register", data={"action": "signup", **account}))
        checked(self._http.post("/auth", data={"action": "login", **account}))

    def next_item(self) -> str | None:
        # The page's button for the next item without a label.
        checked(self._http.post("/annotate", json={"action": "jump_to_unannotated"}))
        response = checked(self._http.get("/api/current_instance"))
        if response.status_code == 404:
            return None  # their part is done
        item = str(response.raise_for_status().json()["instance_id"])
        return None if item == self._labelled else item  # the last one stays on the screen

    def submit(self, item: str, order: Sequence[str]) -> bool:
        body = {
            "instance_id": item,
            "annotations": {f"{SCHEME}:::rank_order": ",".join(order)},
            "span_annotations": [],
        }
        response = checked(self._http.post("/updateinstance", json=body))
        if response.status_code != 200 or response.json().get("status") == "error":
            return False
        self._labelled = item
        return True


def _settings(overlap: int, share: int) -> dict[str, object]:
    """The task: `overlap` annotators per item, `share` items per annotator."""
    ranking = {"annotation_type": "ranking", "name": SCHEME, "description": "Best first."}
    return {
        "annotation_task_name": "hammer",
        "task_dir": ".",
        "data_files": ["items.json"],
        "item_properties": {"id_key": "id", "text_key": "text"},
        "output_annotation_dir": "annotations/",
        "annotation_codebook_url": "",
        "user_config": {"allow_all_users": True, "users": []},
        # Without this file a restart forgets the accounts, and nobody can log in again.
        "authentication": {"user_config_path": "users.jsonl"},
        "assignment_strategy": "random",
        "max_annotations_per_item": overlap,
        "max_annotations_per_user": share,
        "annotation_schemes": [{**ranking, "labels": list(RESPONSES)}],
        "site_dir": "default",
    }
