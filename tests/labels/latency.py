"""Latency of the next item: 10,000 items of 8 responses, 50 annotators at work.

    python -m tests.labels.latency FOLDER [--items 10000] [--responses 8] [--annotators 50]
        [--seconds 120] [--think 20] [--drafts 4] [--active_floor 0.2]

Each annotator holds an item for about `think` seconds, saves `drafts` drafts of it and submits it;
the reply contains the next item. The server runs in a separate process on the same cores. Prints
the milliseconds of a submission with its reply, and of a draft, the server's processor time for
a label with its drafts, and the load average of the minute before the end, as JSON.
"""

import argparse
import json
import os
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import psutil

from rlhf.labels.access import invite
from rlhf.labels.records import Candidate
from rlhf.labels.store import LabelStore
from tests.labels.hammer import server_of
from tests.labels.web_server import Client

WORDS = 60  # per response


def measure(
    folder: Path,
    *,
    items: int,
    responses: int,
    annotators: int,
    seconds: float,
    think: float,
    drafts: int,
    active_floor: float | None,
    port: int,
) -> dict:
    """Quantiles of milliseconds from a submission to the next item and of a draft, and the load."""
    path = folder / "labels.sqlite"
    draw = random.Random(1)
    with LabelStore(path, create=True) as store:
        store.add_candidates(
            [
                Candidate(
                    prompt=f"prompt {i}",
                    responses=[
                        " ".join(f"w{draw.randrange(9999)}" for _ in range(WORDS))
                        for _ in range(responses)
                    ],
                )
                for i in range(items)
            ]
        )
        tokens = [invite(store, f"a{i}") for i in range(annotators)]
    active = [] if active_floor is None else ["--active_floor", str(active_floor)]
    times: dict[str, list[float]] = {"next_item": [], "draft": []}

    def timed(name: str, send: Callable[[], httpx.Response]) -> dict:
        start = time.perf_counter()
        content = send().raise_for_status().json()
        times[name].append(time.perf_counter() - start)
        return content

    def work(index: int) -> None:
        client, rng = Client(server.address, tokens[index]), random.Random(index)
        time.sleep(rng.uniform(0, think))
        item = client.next()
        while time.monotonic() < end:
            draft = {"claim": item["claim"], "form": {"comment": "so far"}}
            for _ in range(drafts):
                time.sleep(rng.uniform(0.5, 1.5) * think / (drafts + 1))
                timed("draft", partial(client.post, "/api/draft", draft))
            time.sleep(rng.uniform(0.5, 1.5) * think / (drafts + 1))
            key = f"key-{index:04}-{item['claim']:08}"
            item = timed("next_item", partial(client.submit, item, key))

    with (
        server_of(path, port, overlap=3, options=active) as server,
        ThreadPoolExecutor(annotators) as pool,
    ):
        end = time.monotonic() + seconds  # the server has started
        before = processor_seconds(server.pid)
        list(pool.map(work, range(annotators)))  # raises what an annotator raised
        used = processor_seconds(server.pid) - before
    return {
        **{name: summary(sorted(measured)) for name, measured in times.items()},
        "cpu_ms_per_label": round(1000 * used / len(times["next_item"]), 1),
        "load": round(os.getloadavg()[0], 2),
    }


def processor_seconds(pid: int) -> float:
    """Processor time of a process so far."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def summary(ordered: Sequence[float]) -> dict:
    """Quantiles of sorted seconds, in milliseconds."""
    at = {"median_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}
    quantiles = {
        name: round(1000 * ordered[int(share * len(ordered))], 1) for name, share in at.items()
    }
    return {**quantiles, "n": len(ordered)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    counts = {"items": 10_000, "responses": 8, "annotators": 50, "drafts": 4, "port": 8392}
    for name, count in counts.items():
        parser.add_argument(f"--{name}", type=int, default=count)
    for name, seconds in (("seconds", 120.0), ("think", 20.0), ("active_floor", None)):
        parser.add_argument(f"--{name}", type=float, default=seconds)
    args = vars(parser.parse_args())
    args["folder"].mkdir(parents=True, exist_ok=True)
    print(json.dumps(measure(**args)))


if __name__ == "__main__":
    main()
