"""A label server for a test: the app in a thread, and an HTTP client of an annotator."""

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from rlhf.labels import access
from rlhf.labels.queue import Queue
from rlhf.labels.records import Candidate
from rlhf.labels.selection import QueueConfig
from rlhf.labels.store import LabelStore
from rlhf.labels.web.app import create_app
from rlhf.labels.web.config import WebConfig


@dataclass
class Site:
    """A running server."""

    address: str
    store: LabelStore
    queue: Queue
    admin_token: str
    app: Any
    invites: dict[str, str] = field(default_factory=dict)

    def link(self, name: str) -> str:
        """The invite link of an annotator, or the link of "admin"."""
        return f"{self.address}/login#{self.token(name)}"

    def token(self, name: str) -> str:
        if name == "admin":
            return self.admin_token
        if name not in self.invites:
            self.invites[name] = access.invite(self.store, name)
        return self.invites[name]

    def client(self, name: str) -> "Client":
        return Client(self.address, self.token(name))


class Client:
    """Logs in and sends the requests of the page."""

    def __init__(self, address: str, token: str, timeout: float = 60.0) -> None:
        # uvicorn closes a connection after 5 s without a request, httpx by default as well: a
        # request at that moment would meet a connection that is being closed.
        limits = httpx.Limits(keepalive_expiry=4)
        self.http = httpx.Client(
            base_url=address, headers={"origin": address}, timeout=timeout, limits=limits
        )
        self.http.post("/login", json={"token": token}).raise_for_status()
        page = self.http.get("/", follow_redirects=True).text
        csrf = page.split('name="csrf" content="')[1].split('"')[0]
        self.http.headers["x-csrf-token"] = csrf

    def post(self, path: str, body: Any) -> httpx.Response:
        return self.http.post(path, json=body)

    def next(self) -> dict[str, Any]:
        return self.post("/api/next", {}).raise_for_status().json()

    def submit(self, item: dict[str, Any], key: str, **form: Any) -> httpx.Response:
        count = len(item["answers"])
        tiers = {"tiers": list(range(count, 0, -1))} if count > 2 else {"scale": 1}
        body = {"claim": item["claim"], "key": key, "seconds": 3.0, "form": form or tiers}
        return self.post("/api/submit", body)


def candidates(count: int, responses: int = 4) -> list[Candidate]:
    """Items whose prompts and responses contain their numbers."""
    return [
        Candidate(
            prompt=f"prompt {i}",
            responses=[f"response {i}.{j}" for j in range(responses)],
            models=[f"hidden-model-{j}" for j in range(responses)],
        )
        for i in range(count)
    ]


@contextmanager
def serving(
    folder: Path,
    items,
    config: QueueConfig | None = None,
    web=None,
    live=None,
    location: str | None = None,
):
    """A `Site` on a free port, with its store in the folder or at another `location`."""
    with LabelStore(location or folder / "labels.sqlite", create=True) as store:
        if items:
            store.add_candidates(items)
        queue = Queue(store, config or QueueConfig())
        token = access.admin_token(store)
        assert token is not None
        app = create_app(queue, web or WebConfig(), live(store) if live else None)
        settings = uvicorn.Config(app, port=0, log_level="warning", lifespan="off")
        server = uvicorn.Server(settings)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Site(f"http://127.0.0.1:{port}", store, queue, token, app)
        server.should_exit = True
        thread.join(30)
