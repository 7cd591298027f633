"""Fifty annotators over HTTP and a server that dies: what was acknowledged, and what is there.

    python tests/labels/hammer.py FOLDER [--annotators 50] [--kills 20] [--items 400]

A process of its own serves with `rlhf label serve`; annotators are threads that retry with the
key of their click until they have an answer. Prints a JSON object with what was counted.
"""

import argparse
import json
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
from web_server import pairs_and_more

from rlhf.labels.access import invite
from rlhf.labels.store import LabelStore

PORT_TRIES = 200


class Server:
    """`rlhf label serve` on one port; killed with SIGKILL and started again."""

    def __init__(self, store: Path, port: int, overlap: int) -> None:
        words = ["label", "serve", "--store", str(store), "--port", str(port)]
        self._command = [sys.executable, "-m", "rlhf.cli", *words, "--overlap", str(overlap)]
        self.address = f"http://127.0.0.1:{port}"
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        for _ in range(PORT_TRIES):
            try:
                httpx.get(f"{self.address}/health", timeout=5)
                return
            except httpx.TransportError:
                assert self.process.poll() is None, "the server ended by itself"
                time.sleep(0.1)
        raise TimeoutError("the server did not come up")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Annotator(threading.Thread):
    """Labels until nothing is left; remembers every label that was acknowledged."""

    def __init__(self, address: str, name: str, token: str) -> None:
        super().__init__(daemon=True)
        self.address, self.person, self.token = address, name, token
        self.acknowledged: list[int] = []  # claims
        self.refused: Counter[int] = Counter()  # statuses that are no success and no retry
        self.retries = 0
        self.draw = random.Random(name)

    def run(self) -> None:
        with httpx.Client(base_url=self.address, timeout=60.0) as self.http:
            self.http.headers["origin"] = self.address
            self.send("POST", "/login", {"token": self.token})
            page = self.send("GET", "/", None).text
            self.http.headers["x-csrf-token"] = page.split('"csrf" content="')[1].split('"')[0]
            while (claim := self.send("POST", "/api/next", {}).json()["claim"]) is not None:
                tiers = self.draw.sample((1, 2, 3, 4), 4)
                form = {"tiers": tiers, "comment": f"{self.person} {claim}"}
                body = {"claim": claim, "key": f"{self.draw.random():.17f}", "form": form}
                answer = self.send("POST", "/api/submit", {**body, "seconds": 1.0})
                if answer.status_code == 200:
                    self.acknowledged.append(claim)
                else:
                    self.refused[answer.status_code] += 1
                if self.draw.random() < 0.1:  # a reply that was lost on the way: sent again
                    self.send("POST", "/api/submit", {**body, "seconds": 1.0})

    def send(self, method: str, path: str, body: object) -> httpx.Response:
        while True:
            try:
                answer = self.http.request(method, path, json=body)
                if answer.status_code < 500:
                    return answer
            except httpx.TransportError:
                self.retries += 1
            time.sleep(0.05 + 0.1 * self.draw.random())


def hammer(folder: Path, *, annotators: int, kills: int, items: int, port: int) -> dict:
    """Run it; what was acknowledged, lost, doubled and found damaged."""
    path, overlap = folder / "labels.sqlite", 3
    with LabelStore(path, create=True) as store:
        store.add_candidates(pairs_and_more(items))
        people = {f"a{i}": invite(store, f"a{i}") for i in range(annotators)}
    server = Server(path, port, overlap)
    crew = [Annotator(server.address, name, token) for name, token in people.items()]
    start = time.monotonic()
    for one in crew:
        one.start()
    killed = 0
    while any(one.is_alive() for one in crew):
        before = sum(len(one.acknowledged) for one in crew)
        share = (killed + 1) / (kills + 1) * items * overlap
        if killed < kills and before >= share:
            server.kill()
            killed += 1
            server.start()
        time.sleep(0.02)
    seconds = time.monotonic() - start
    server.kill()
    with sqlite3.connect(path) as connection:
        integrity = connection.execute("pragma integrity_check").fetchone()[0]
        rows = connection.execute("select claim_id from events where kind = 'submit'").fetchall()
    stored = Counter(row[0] for row in rows)
    with LabelStore(path) as store:
        labels = store.labels()
    each = Counter((label.item_id, label.annotator) for label in labels)
    places = Counter(label.item_id for label in labels)
    acknowledged = [claim for one in crew for claim in one.acknowledged]
    return {
        "annotators": annotators,
        "kills": killed,
        "acknowledged": len(acknowledged),
        "labels": len(labels),
        "lost": len(set(acknowledged) - set(stored)),
        "doubled": sum(count - 1 for count in [*stored.values(), *each.values()]),
        "items_over_overlap": sum(count > overlap for count in places.values()),
        "items_whole": sum(count == overlap for count in places.values()),
        "refused": dict(sum((one.refused for one in crew), Counter())),
        "retries": sum(one.retries for one in crew),
        "integrity": integrity,
        "seconds": round(seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--annotators", type=int, default=50)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--items", type=int, default=400)
    parser.add_argument("--port", type=int, default=8391)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    counted = hammer(
        given.folder,
        annotators=given.annotators,
        kills=given.kills,
        items=given.items,
        port=given.port,
    )
    print(json.dumps(counted, indent=2))


if __name__ == "__main__":
    main()
