"""Reward models from few labels: how much of what is possible do they let a policy reach, and why?

    python recipes/toy_tasks/few_labels.py
    python recipes/toy_tasks/few_labels.py --experiments base "ensemble of 4" --worlds 0 1 2

Each world has its own Markov chain and a gold score that is drawn from a family (drawn/world.py).
Labels have Bradley-Terry noise. Reward models start from a small language model of the chain. The
efficiency of a reward model is the gain in gold of the best policy for its reward, as a share of
the best gain at the same KL. Both are exact: no policy is trained. Every experiment adds a line for
each learner and world to results.jsonl, and is not run again.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from recipes.toy_tasks.drawn.bench import (  # noqa: E402
    Bench,
    efficiencies,
    make_bench,
    train_sft,
)
from recipes.toy_tasks.drawn.experiments import EXPERIMENTS, run  # noqa: E402
from recipes.toy_tasks.drawn.linear_experiments import learners as linear_learners  # noqa: E402
from recipes.toy_tasks.drawn.network import Params  # noqa: E402
from recipes.toy_tasks.drawn.world import Array  # noqa: E402

LINEAR, RESULTS, SFT = "linear", "results.jsonl", "sft.pt"
HEADLINE = "2"  # nats


def main() -> None:
    """Run the missing experiments, then print a table of all results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [LINEAR, *EXPERIMENTS]
    parser.add_argument("--experiments", nargs="+", default=names, choices=names, metavar="NAME")
    parser.add_argument("--worlds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--output_dir", type=Path, default=Path("runs/toy_tasks/few_labels"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.output_dir.mkdir(parents=True, exist_ok=True)
    results = args.output_dir / RESULTS
    for name in args.experiments:
        if missing := missing_worlds(read(results), name, args.worlds):
            bench = make_bench(missing, sft_models(args.output_dir, missing))
            run_one(name, bench, results)
    print(as_table(read(results), args.worlds))


def run_one(name: str, bench: Bench, results: Path) -> None:
    """Run an experiment; append its lines when all are there."""
    start = time.perf_counter()
    lines: list[dict[str, Any]] = []
    if name == LINEAR:
        for learner, pairs, choices, rewards in linear_learners(bench):
            lines += lines_of(bench, rewards, learner=learner, pairs=pairs, choices=choices)
        metrics: Mapping[str, float] = {}
    else:
        experiment = EXPERIMENTS[name]
        by_learner, metrics = run(experiment, bench)
        size = {"pairs": experiment.pairs, "choices": experiment.choices}
        for learner, rewards in by_learner.items():
            lines += lines_of(bench, rewards, learner=learner, **size)
    seconds = time.perf_counter() - start
    with results.open("a", encoding="utf-8") as file:
        for line in lines:
            file.write(
                json.dumps({"experiment": name, **line, **metrics, "seconds": seconds}) + "\n"
            )
    print(f"{name}: {seconds:.0f} s {dict(metrics)}", flush=True)
    named = [{"experiment": name, **line} for line in lines]
    print(as_table(named, [world.number for world in bench.worlds]), flush=True)


def lines_of(bench: Bench, rewards: Array, **about: Any) -> list[dict[str, Any]]:
    """A line for each world."""
    return [
        {**about, "world": world.number, "efficiency": values}
        for world, values in zip(bench.worlds, efficiencies(bench, rewards), strict=True)
    ]


def sft_models(folder: Path, numbers: list[int]) -> Params:
    """The SFT model of each world, trained once and kept."""
    path = folder / SFT
    kept: dict[int, Params] = torch.load(path) if path.exists() else {}
    if missing := [number for number in numbers if number not in kept]:
        trained = train_sft(missing)
        for index, number in enumerate(missing):
            kept[number] = {name: weight[index].clone() for name, weight in trained.items()}
        torch.save(kept, path)
    return {name: torch.stack([kept[n][name] for n in numbers]) for name in kept[numbers[0]]}


def read(results: Path) -> list[dict[str, Any]]:
    """All lines so far."""
    if not results.exists():
        return []
    return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]


def missing_worlds(lines: Iterable[Mapping[str, Any]], name: str, worlds: list[int]) -> list[int]:
    """The worlds in which the experiment was not run."""
    done = {line["world"] for line in lines if line["experiment"] == name}
    return [world for world in worlds if world not in done]


def as_table(lines: Iterable[Mapping[str, Any]], worlds: list[int]) -> str:
    """Markdown: the efficiency of every learner, median and range over the worlds."""
    found: dict[tuple[Any, ...], list[Mapping[str, float]]] = {}
    for line in lines:
        if line["world"] in worlds:
            key = (line["experiment"], line["learner"], line["pairs"], line["choices"])
            found.setdefault(key, []).append(line["efficiency"])
    rows = [
        "| experiment | learner | pairs | K | median | lowest | highest | at 0.5 nats | "
        "at 4 nats | correlation | worlds |",
        f"|---|---|{'---:|' * 9}",
    ]
    for (experiment, learner, pairs, choices), each in found.items():
        values = [one[HEADLINE] for one in each]
        numbers = [median(values), min(values), max(values)]
        numbers += [median(one[key] for one in each) for key in ("0.5", "4", "correlation")]
        cells = [experiment, learner, f"{pairs:,}", str(choices), *(f"{x:.3f}" for x in numbers)]
        rows.append(f"| {' | '.join(cells)} | {len(values)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
