"""How long the next item takes: 10,000 items of 8 answers, 50 annotators at work.

    python tests/labels/latency.py FOLDER [--items 10000] [--answers 8] [--annotators 50]
        [--seconds 120] [--think 20] [--drafts 4] [--active_floor 0.2]

Each annotator has an item for about `think` seconds, saves `drafts` drafts of it meanwhile, and
submits; the reply brings the next item. Over HTTP, against a server in a process of its own that
stands on the same cores. Prints milliseconds from the submission to the next item, and those of a
draft, as JSON.
"""

import argparse
import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import httpx

from rlhf.labels.access import invite
from rlhf.labels.records import Candidate
from rlhf.labels.store import LabelStore
from tests.labels.hammer import Server
from tests.labels.web_server import Person

WORDS = 60  # of each answer


def measure(
    folder: Path,
    *,
    items: int,
    answers: int,
    annotators: int,
    seconds: float,
    think: float,
    drafts: int,
    active_floor: float | None,
    port: int,
) -> dict:
    """Milliseconds from a submission to the next item, and of a draft."""
    path = folder / "labels.sqlite"
    draw = random.Random(1)
    with LabelStore(path, create=True) as store:
        store.add_candidates(
            [
                Candidate(
                    prompt=f"prompt {i}",
                    responses=[
                        " ".join(f"w{draw.randrange(9999)}" for _ in range(WORDS))
                        for _ in range(answers)
                    ],
                )
                for i in range(items)
            ]
        )
        tokens = [invite(store, f"a{i}") for i in range(annotators)]
    active = [] if active_floor is None else ["--active_floor", str(active_floor)]
    server = Server(path, port, overlap=3, words=active)
    times: dict[str, list[float]] = {"next_item": [], "draft": []}
    end = time.monotonic() + seconds

    def timed(name: str, send: Callable[[], httpx.Response]) -> dict:
        start = time.perf_counter()
        content = send().raise_for_status().json()
        times[name].append(time.perf_counter() - start)
        return content

    def work(index: int) -> None:
        person, own = Person(server.address, tokens[index]), random.Random(index)
        time.sleep(own.uniform(0, think))
        item = person.next()
        while time.monotonic() < end:
            draft = {"claim": item["claim"], "form": {"comment": "so far"}}
            for _ in range(drafts):
                time.sleep(own.uniform(0.5, 1.5) * think / (drafts + 1))
                timed("draft", partial(person.post, "/api/draft", draft))
            time.sleep(own.uniform(0.5, 1.5) * think / (drafts + 1))
            key = f"key-{index:04}-{item['claim']:08}"
            item = timed("next_item", partial(person.submit, item, key))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(annotators)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.kill()
    return {name: summary(sorted(each)) for name, each in times.items()}


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
    counts = {"items": 10_000, "answers": 8, "annotators": 50, "drafts": 4, "port": 8392}
    for name, count in counts.items():
        parser.add_argument(f"--{name}", type=int, default=count)
    for name, seconds in (("seconds", 120.0), ("think", 20.0), ("active_floor", None)):
        parser.add_argument(f"--{name}", type=float, default=seconds)
    given = vars(parser.parse_args())
    given["folder"].mkdir(parents=True, exist_ok=True)
    print(json.dumps(measure(**given)))


if __name__ == "__main__":
    main()
