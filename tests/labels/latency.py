"""How long the next item takes: 10,000 items of 8 answers, 50 annotators.

    python tests/labels/latency.py FOLDER [--items 10000] [--answers 8] [--annotators 50]
        [--seconds 60] [--think 5]

Annotators take an item, think for about `think` seconds, submit and take the next, over HTTP
against a server in a process of its own. Prints median, 95th percentile and count as JSON.
"""

import argparse
import json
import random
import threading
import time
from pathlib import Path

from hammer import Server
from web_server import Person

from rlhf.labels.access import invite
from rlhf.labels.records import Candidate
from rlhf.labels.store import LabelStore

WORDS = 60  # of each answer


def measure(
    folder: Path,
    *,
    items: int,
    answers: int,
    annotators: int,
    seconds: float,
    think: float,
    port: int,
) -> dict:
    """Milliseconds of `next` and of `submit` (which brings the next item along)."""
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
    server = Server(path, port, overlap=3)
    times: dict[str, list[float]] = {"next": [], "submit": []}
    end = time.monotonic() + seconds

    def work(index: int) -> None:
        person, own = Person(server.address, tokens[index]), random.Random(index)
        time.sleep(own.uniform(0, think))
        while time.monotonic() < end:
            start = time.perf_counter()
            item = person.next()
            times["next"].append(time.perf_counter() - start)
            time.sleep(own.uniform(0.5, 1.5) * think)
            start = time.perf_counter()
            person.submit(item, f"key-{index:04}-{item['claim']:08}").raise_for_status()
            times["submit"].append(time.perf_counter() - start)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(annotators)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.kill()
    return {
        name: {
            "median_ms": round(1000 * sorted(all_)[len(all_) // 2], 1),
            "p95_ms": round(1000 * sorted(all_)[int(0.95 * len(all_))], 1),
            "n": len(all_),
        }
        for name, all_ in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    for name, value in (("items", 10_000), ("answers", 8), ("annotators", 50), ("port", 8392)):
        parser.add_argument(f"--{name}", type=int, default=value)
    for name, seconds in (("seconds", 60.0), ("think", 5.0)):
        parser.add_argument(f"--{name}", type=float, default=seconds)
    given = vars(parser.parse_args())
    given["folder"].mkdir(parents=True, exist_ok=True)
    print(json.dumps(measure(**given)))


if __name__ == "__main__":
    main()
