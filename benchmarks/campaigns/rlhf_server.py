"""`rlhf label serve` as the driver uses it: the requests of the label page."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx

from benchmarks.campaigns.process import ServerProcess
from benchmarks.campaigns.tool import RESPONSES, Label, checked, new_folder
from rlhf.labels.access import invite
from rlhf.labels.records import Candidate
from rlhf.labels.store import LabelStore


def serve_command(location: str | Path, port: int, overlap: int) -> list[str]:
    """The command that serves a store on a port."""
    serve = [sys.executable, "-m", "rlhf.cli", "label", "serve", "--store", str(location)]
    return [*serve, "--port", str(port), "--overlap", str(overlap)]


class RlhfServer:
    """A store in a SQLite file, the default."""

    name = f"rlhf {version('rlhf')}"

    def __init__(self, folder: Path, port: int) -> None:
        self._store = new_folder(folder, "rlhf") / "labels.sqlite"
        self._port = port

    @contextmanager
    def project(
        self, items: Sequence[str], annotators: Sequence[str], overlap: int
    ) -> Iterator[ServerProcess]:
        with LabelStore(self._store, create=True) as store:
            store.add_candidates(
                [
                    Candidate(prompt=item, responses=[f"{item} {name}" for name in RESPONSES])
                    for item in items
                ]
            )
            self._tokens = {name: invite(store, name) for name in annotators}
        command = serve_command(self._store, self._port, overlap)
        with ServerProcess(command, self._address(), folder=self._store.parent) as server:
            yield server

    def annotator(self, name: str) -> "RlhfAnnotator":
        return RlhfAnnotator(name, self._address(), self._tokens[name])

    def _address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def stored_labels(self) -> list[Label]:
        with LabelStore(self._store) as store:
            prompts = {item.id: str(item.prompt) for item in store.items()}
            return [
                Label(label.annotator, prompts[label.item_id], _order(label.ranks))
                for label in store.labels()
            ]


class RlhfAnnotator:
    """The requests of the label page."""

    def __init__(self, name: str, address: str, token: str) -> None:
        self.name, self._token = name, token
        self._http = httpx.Client(base_url=address, headers={"origin": address}, timeout=60.0)
        self._shown: Mapping[str, Any] | None = None  # None: the server is to be asked

    def log_in(self) -> None:
        checked(self._http.post("/login", json={"token": self._token})).raise_for_status()
        page = checked(self._http.get("/")).text
        self._http.headers["x-csrf-token"] = page.split('"csrf" content="')[1].split('"')[0]

    def next_item(self) -> str | None:
        if self._shown is None or self._shown["claim"] is None:
            self._shown = checked(self._http.post("/api/next", json={})).raise_for_status().json()
        if self._shown["claim"] is None:
            return None
        return str(self._shown["prompt"][0]["text"])

    def submit(self, item: str, order: Sequence[str]) -> bool:
        assert self._shown is not None  # the item on the screen
        claim = self._shown["claim"]
        names = [answer["text"].rsplit(" ")[-1] for answer in self._shown["answers"]]
        form = {"tiers": [order.index(name) + 1 for name in names]}
        # A repeated request has the same key, as on the page.
        body = {"claim": claim, "key": f"key-of-{claim:08}", "form": form, "seconds": 1.0}
        response = checked(self._http.post("/api/submit", json=body))
        self._shown = response.json() if response.status_code == 200 else None
        return response.status_code == 200


def _order(ranks: Sequence[int]) -> tuple[str, ...]:
    """Names of the responses, the best first, for ranks in the order of RESPONSES."""
    return tuple(name for _, name in sorted(zip(ranks, RESPONSES, strict=True)))
