"""Reward models from few labels: how much of what is possible do they let a policy reach, and why?

    python recipes/toy_tasks/few_labels.py
    python recipes/toy_tasks/few_labels.py --experiments base "ensemble of 4" --worlds 0 1 2

Each world has its own Markov chain and a gold score that is drawn from a family (drawn/world.py).
Labels have Bradley-Terry noise. Reward models start from a small language model of the chain. The
efficiency of a reward model is the gain in gold of the best policy for its reward, as a share of
the best gain at the same KL. Both are exact: no policy is trained. Every experiment adds a line for
each world to the file of results, and is not run again.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from recipes.seed_results import Metrics, add_seed, read_numbers, read_seeds  # noqa: E402
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
from recipes.toy_tasks.few_labels_found import Learner, as_table  # noqa: E402

LINEAR, RESULTS, SFT = "linear", "results.jsonl", "sft.pt"
THREADS = 1


def main() -> None:
    """Run the missing experiments, then print a table of all results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [LINEAR, *EXPERIMENTS]
    parser.add_argument("--experiments", nargs="+", default=names, choices=names, metavar="NAME")
    parser.add_argument("--worlds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--output_dir", type=Path, default=Path("runs/toy_tasks/few_labels"))
    parser.add_argument(
        "--results", type=Path, help=f"file of results (default: {RESULTS} in the output folder)"
    )
    args = parser.parse_args()
    torch.set_num_threads(THREADS)
    args.output_dir.mkdir(parents=True, exist_ok=True)
    results = args.results or args.output_dir / RESULTS
    for name in args.experiments:
        if missing := missing_worlds(results, name, args.worlds):
            bench = make_bench(missing, sft_models(args.output_dir, missing))
            run_one(name, bench, results)
    print(as_table(read_numbers(results), args.worlds))


def run_one(name: str, bench: Bench, results: Path) -> None:
    """Run an experiment; add the lines of its worlds when all are there."""
    start = time.perf_counter()
    by_world: list[Metrics] = [{} for _ in bench.worlds]
    if name == LINEAR:
        for learner, pairs, choices, rewards in linear_learners(bench):
            add_learner(by_world, bench, Learner(name, learner, pairs, choices), rewards)
    else:
        experiment = EXPERIMENTS[name]
        by_learner, metrics = run(experiment, bench)
        for learner, rewards in by_learner.items():
            size = (experiment.pairs, experiment.choices)
            add_learner(by_world, bench, Learner(name, learner, *size), rewards)
        for metric, values in metrics.items():
            for world, value in zip(by_world, values.tolist(), strict=True):
                world[f"{name} | {metric}"] = value
    numbers = [world.number for world in bench.worlds]
    for number, found in zip(numbers, by_world, strict=True):
        add_seed(results, number, found, threads=THREADS)
    print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)


def add_learner(
    by_world: Sequence[Metrics], bench: Bench, learner: Learner, rewards: Array
) -> None:
    """Add the learner's efficiencies to the metrics of each world."""
    for metrics, found in zip(by_world, efficiencies(bench, rewards), strict=True):
        metrics |= {learner.metric(measure): value for measure, value in found.items()}


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


def missing_worlds(results: Path, name: str, worlds: Sequence[int]) -> list[int]:
    """The worlds in which the experiment was not run."""
    found = read_seeds(results)
    return [
        world
        for world in worlds
        if not any(metric.startswith(f"{name} | ") for metric in found.get(world, {}))
    ]


if __name__ == "__main__":
    main()
