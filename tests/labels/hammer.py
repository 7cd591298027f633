"""Fifty annotators over HTTP and a server that dies: what was acknowledged, and what is there.

    python tests/labels/hammer.py FOLDER [--store URL] [--annotators 50] [--kills 20] [--items 400]

A process of its own serves with `rlhf label serve`; annotators are threads that save drafts, rank,
skip, take back and rank again, and retry with the key of their click until they have an answer.
Prints a JSON object with what was counted.
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
from collections.abc import Sequence
from pathlib import Path

import httpx

from rlhf.labels.access import invite
from rlhf.labels.store import LabelStore
from tests.labels.web_server import pairs_and_more

PORT_TRIES = 600
OVERLAP = 3
SECONDS = 1200  # after which whatever is still missing is counted as lost


class Server:
    """`rlhf label serve` on one port; killed with SIGKILL and started again."""

    def __init__(
        self, store: str | Path, port: int, overlap: int, words: Sequence[str] = ()
    ) -> None:
        words = ["--store", str(store), "--port", str(port), "--overlap", str(overlap), *words]
        self._command = [sys.executable, "-m", "rlhf.cli", "label", "serve", *words]
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
    """Works until everything is labelled; remembers what was acknowledged and still stands."""

    def __init__(self, address: str, name: str, token: str, finished: threading.Event) -> None:
        super().__init__(daemon=True)
        self.address, self.person, self.token = address, name, token
        self.finished = finished
        self.standing: dict[int, list[int]] = {}  # claim -> places, in the order shown
        self.counts: Counter[str] = Counter()
        self.draw = random.Random(name)

    def run(self) -> None:
        with httpx.Client(base_url=self.address, timeout=60.0) as self.http:
            self.http.headers["origin"] = self.address
            self.send("POST", "/login", {"token": self.token})
            page = self.send("GET", "/", None).text
            self.http.headers["x-csrf-token"] = page.split('"csrf" content="')[1].split('"')[0]
            while not self.finished.is_set():
                claim = self.send("POST", "/api/next", {}).json()["claim"]
                if claim is None:
                    time.sleep(0.3)  # somebody may yet skip, or take something back
                elif self.draw.random() < 0.1:
                    self.skip(claim)
                else:
                    self.rank(claim)
                    if self.draw.random() < 0.1:
                        self.rank_again(claim)

    def rank(self, claim: int) -> None:
        tiers = self.draw.sample((1, 2, 3, 4), 4)
        form = {"tiers": tiers, "comment": f"{self.person} {claim}"}
        if self.draw.random() < 0.3:
            self.send("POST", "/api/draft", {"claim": claim, "form": form})
        body = {"claim": claim, "key": self.key(), "form": form, "seconds": 1.0}
        if self.acknowledged("/api/submit", body):
            self.standing[claim] = tiers
        if self.draw.random() < 0.1:  # a reply that was lost on the way: sent again
            self.send("POST", "/api/submit", body)

    def skip(self, claim: int) -> None:
        body = {"claim": claim, "key": self.key(), "reason": "other", "seconds": 1.0}
        self.counts["skipped"] += self.acknowledged("/api/skip", body)

    def rank_again(self, claim: int) -> None:
        """Take the last label back, and rank its item anew."""
        body = {"key": self.key()}
        if claim in self.standing and self.acknowledged("/api/undo", body):
            del self.standing[claim]
            self.counts["undone"] += 1
            self.rank(self.send("POST", "/api/undo", body).json()["claim"])  # sent twice, too

    def key(self) -> str:
        return f"{self.draw.random():.17f}"

    def acknowledged(self, path: str, body: object) -> bool:
        status = self.send("POST", path, body).status_code
        self.counts["acknowledged"] += status == 200
        self.counts["refused"] += status != 200
        return status == 200

    def send(self, method: str, path: str, body: object) -> httpx.Response:
        while True:
            try:
                answer = self.http.request(method, path, json=body)
                if answer.status_code < 500:
                    return answer
                self.counts["server_errors"] += 1
            except httpx.TransportError:
                self.counts["retries"] += 1
            time.sleep(0.05 + 0.1 * self.draw.random())


def hammer(location: str | Path, *, annotators: int, kills: int, items: int, port: int) -> dict:
    """Run it on a new store; what was acknowledged, lost, doubled, altered and found damaged."""
    with LabelStore(location, create=True) as store:
        store.add_candidates(pairs_and_more(items))
        people = {f"a{i}": invite(store, f"a{i}") for i in range(annotators)}
    server, finished = Server(location, port, OVERLAP), threading.Event()
    crew = [Annotator(server.address, name, token, finished) for name, token in people.items()]
    start, killed = time.monotonic(), 0
    for one in crew:
        one.start()
    while (standing := sum(len(one.standing) for one in crew)) < items * OVERLAP:
        if killed < kills and standing >= (killed + 1) / (kills + 1) * items * OVERLAP:
            server.kill()
            killed += 1
            server.start()
        if time.monotonic() - start > SECONDS:
            break
        time.sleep(0.02)
    seconds = time.monotonic() - start
    finished.set()
    for one in crew:
        one.join()
    server.kill()
    said = {claim: tiers for one in crew for claim, tiers in one.standing.items()}
    total = sum((one.counts for one in crew), Counter())
    return {
        "annotators": annotators,
        "kills": killed,
        **{
            name: total[name]
            for name in ("acknowledged", "skipped", "undone", "refused", "server_errors", "retries")
        },
        **compare(location, said, items),
        "seconds": round(seconds, 1),
    }


def compare(location: str | Path, said: dict[int, list[int]], items: int) -> dict:
    """Counts of what stands in the store and of what differs from what was acknowledged.

    said: claim -> places of the answers shown, for each label that was acknowledged and not taken
    back.
    """
    with LabelStore(location) as store:
        labels, counts = store.labels(), store.count_events()
    # The comment holds the claim, so that each label can be told from all others.
    stored = Counter(int(label.extra["comment"].split()[1]) for label in labels)
    places = {
        int(label.extra["comment"].split()[1]): [label.ranks[i] for i in label.order_shown]
        for label in labels
    }
    people = Counter((label.item_id, label.annotator) for label in labels)
    each = Counter(label.item_id for label in labels)
    integrity = "not asked"
    if isinstance(location, Path):
        with sqlite3.connect(location) as connection:
            integrity = connection.execute("pragma integrity_check").fetchone()[0]
    return {
        "labels": len(labels),
        "late": counts.get("late", 0),
        "lost": len(said.keys() - stored.keys()),
        "never_acknowledged": len(stored.keys() - said.keys()),
        "altered": sum(places[claim] != said[claim] for claim in said.keys() & places.keys()),
        "doubled": sum(count - 1 for count in [*stored.values(), *people.values()]),
        "items_over_overlap": sum(count > OVERLAP for count in each.values()),
        "items_whole": sum(count == OVERLAP for count in each.values()),
        "items": items,
        "integrity": integrity,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--store", help="URL of an empty PostgreSQL database.")
    counts = {"annotators": 50, "kills": 20, "items": 400, "port": 8391}
    for name, count in counts.items():
        parser.add_argument(f"--{name}", type=int, default=count)
    given = vars(parser.parse_args())
    folder, url = given.pop("folder"), given.pop("store")
    folder.mkdir(parents=True, exist_ok=True)
    print(json.dumps(hammer(url or folder / "labels.sqlite", **given), indent=2))


if __name__ == "__main__":
    main()
