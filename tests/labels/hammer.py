"""Load test: many annotators over HTTP while the server is killed; compares labels and replies.

    python -m tests.labels.hammer FOLDER [--store URL] [--annotators 50] [--kills 20] [--items 400]

`rlhf label serve` runs in a separate process. Annotators are threads that save drafts, rank, skip
and undo, and retry each request with the same key until the server replies. Prints the counts,
the seconds, and the load average of the minute before the start as a JSON object.
"""

import argparse
import json
import os
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import httpx

from benchmarks.campaigns.kills import Run, insist, work_under_kills
from benchmarks.campaigns.process import ServerProcess
from benchmarks.campaigns.rlhf_server import serve_command
from benchmarks.campaigns.tool import checked
from rlhf.labels.access import invite
from rlhf.labels.store import LabelStore
from tests.labels.web_server import candidates

OVERLAP = 3


def server_of(
    store: str | Path, port: int, overlap: int, options: Sequence[str] = ()
) -> ServerProcess:
    """`rlhf label serve` in a process of its own, which runs inside a `with`."""
    command = [*serve_command(store, port, overlap), *options]
    return ServerProcess(command, f"http://127.0.0.1:{port}")


class Annotator:
    """Labels until the run is finished; records its acknowledged labels without undone ones."""

    def __init__(self, address: str, name: str, token: str, run: Run) -> None:
        self.address, self.annotator, self.token, self.run = address, name, token, run
        self.standing: dict[int, list[int]] = {}  # claim -> tiers, in the order shown
        self.counts: Counter[str] = Counter()
        self.draw = random.Random(name)

    def work(self) -> None:
        with httpx.Client(base_url=self.address, timeout=60.0) as self.http:
            self.http.headers["origin"] = self.address
            self.send("POST", "/login", {"token": self.token})
            page = self.send("GET", "/", None).text
            self.http.headers["x-csrf-token"] = page.split('"csrf" content="')[1].split('"')[0]
            while not self.run.finished.is_set():
                claim = self.send("POST", "/api/next", {}).json()["claim"]
                if claim is None:
                    time.sleep(0.3)  # another annotator may still skip or undo
                elif self.draw.random() < 0.1:
                    self.skip(claim)
                else:
                    self.rank(claim)
                    if self.draw.random() < 0.1:
                        self.rank_again(claim)

    def rank(self, claim: int) -> None:
        tiers = self.draw.sample((1, 2, 3, 4), 4)
        form = {"tiers": tiers, "comment": f"{self.annotator} {claim}"}
        if self.draw.random() < 0.3:
            self.send("POST", "/api/draft", {"claim": claim, "form": form})
        body = {"claim": claim, "key": self.key(), "form": form, "seconds": 1.0}
        if self.acknowledged("/api/submit", body):
            self.standing[claim] = tiers
        if self.draw.random() < 0.1:  # as after a lost reply
            self.send("POST", "/api/submit", body)

    def skip(self, claim: int) -> None:
        body = {"claim": claim, "key": self.key(), "reason": "other", "seconds": 1.0}
        self.counts["skipped"] += self.acknowledged("/api/skip", body)

    def rank_again(self, claim: int) -> None:
        """Undo the last label and rank its item again."""
        body = {"key": self.key()}
        if claim in self.standing and self.acknowledged("/api/undo", body):
            del self.standing[claim]
            self.counts["undone"] += 1
            self.rank(self.send("POST", "/api/undo", body).json()["claim"])  # also sent twice

    def key(self) -> str:
        return f"{self.draw.random():.17f}"

    def acknowledged(self, path: str, body: object) -> bool:
        status = self.send("POST", path, body).status_code
        self.counts["acknowledged"] += status == 200
        self.counts["rejected"] += status != 200
        return status == 200

    def send(self, method: str, path: str, body: object) -> httpx.Response:
        return insist(
            lambda: checked(self.http.request(method, path, json=body)),
            self.run,
            self.counts,
            self.draw,
        )


def hammer(location: str | Path, *, annotators: int, kills: int, items: int, port: int) -> dict:
    """Run the load test on a new store; returns counts of acknowledged, lost and doubled labels."""
    with LabelStore(location, create=True) as store:
        store.add_candidates(candidates(items))
        tokens = {f"a{i}": invite(store, f"a{i}") for i in range(annotators)}
    run = Run()
    with server_of(location, port, OVERLAP) as server:
        workers = [Annotator(server.address, name, token, run) for name, token in tokens.items()]
        killed, seconds = work_under_kills(
            [worker.work for worker in workers],
            run,
            server,
            done=lambda: sum(len(worker.standing) for worker in workers),
            total=items * OVERLAP,
            kills=kills,
        )
    expected = {claim: tiers for worker in workers for claim, tiers in worker.standing.items()}
    total = sum((worker.counts for worker in workers), Counter())
    names = ("acknowledged", "skipped", "undone", "rejected", "server_errors", "no_reply")
    return {
        "annotators": annotators,
        "kills": killed,
        **{name: total[name] for name in names},
        **compare(location, expected, items),
        "seconds": round(seconds, 1),
    }


def compare(location: str | Path, expected: dict[int, list[int]], items: int) -> dict:
    """Counts of the stored labels and of their differences from the acknowledged ones.

    expected: claim -> tiers in the order shown, for each acknowledged label that was not undone.
    """
    with LabelStore(location) as store:
        labels, counts = store.labels(), store.count_events()
    # The comment contains the claim, which identifies the label.
    stored = Counter(int(label.extra["comment"].split()[1]) for label in labels)
    ranks = {
        int(label.extra["comment"].split()[1]): [label.ranks[i] for i in label.order_shown]
        for label in labels
    }
    by_annotator = Counter((label.item_id, label.annotator) for label in labels)
    by_item = Counter(label.item_id for label in labels)
    integrity = "not checked"
    if isinstance(location, Path):
        with sqlite3.connect(location) as connection:
            integrity = connection.execute("pragma integrity_check").fetchone()[0]
    return {
        "labels": len(labels),
        "late": counts.get("late", 0),
        "lost": len(expected.keys() - stored.keys()),
        "never_acknowledged": len(stored.keys() - expected.keys()),
        "altered": sum(ranks[claim] != expected[claim] for claim in expected.keys() & ranks.keys()),
        "doubled": sum(count - 1 for count in [*stored.values(), *by_annotator.values()]),
        "items_over_overlap": sum(count > OVERLAP for count in by_item.values()),
        "items_whole": sum(count == OVERLAP for count in by_item.values()),
        "items": items,
        "integrity": integrity,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--store", help="URL of an empty PostgreSQL database.")
    sizes = {"annotators": 50, "kills": 20, "items": 400, "port": 8391}
    for name, count in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=count)
    args = vars(parser.parse_args())
    folder, url = args.pop("folder"), args.pop("store")
    folder.mkdir(parents=True, exist_ok=True)
    load = round(os.getloadavg()[0], 2)
    counts = hammer(url or folder / "labels.sqlite", **args)
    print(json.dumps({**counts, "load_before": load}, indent=2))


if __name__ == "__main__":
    main()
